"""What `experiments.improved_ddpm` is wired to, held against Nichol & Dhariwal 2021 and the authors' code
(github.com/openai/improved-diffusion: gaussian_diffusion.py, respace.py, resample.py, script_util.py, README.md).

An affine network stands in for the U-Net; it answers a number for v. `improved` has the authors' formulas in numpy."""

import functools
import inspect
import math
import re
import shlex
from typing import Any

import improved
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from scipy import stats
from wiring.affine import Affine, Loss, recording, state_of
from wiring.conftest import Measured

import experiments.improved_ddpm
import jaxgen
from jaxgen import data
from jaxgen.game import merging
from jaxgen.models.diffusion import presets
from jaxgen.objectives import SecondMoment
from jaxgen.types import Batch

KEY = jax.random.key(2)
BLACK = np.zeros((512, 2, 2, 1))


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> list[Affine]:
    """The networks that a test's experiments make."""
    made: list[Affine] = []
    monkeypatch.setattr(presets, "UNet", recording(made))
    return made


@functools.cache
def loss_of(**flags: Any) -> Loss:
    return Loss(make("improved_ddpm", **flags))


def cosine_betas(steps: int) -> np.ndarray:
    """`betas_for_alpha_bar`."""
    f = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def linear_betas(steps: int) -> np.ndarray:
    """`get_named_beta_schedule`."""
    return np.linspace(0.1 / steps, 20 / steps, steps)


def test_the_defaults_are_the_papers_where_they_do_not_depend_on_the_images() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.improved_ddpm.experiment).parameters.items()}
    facts: dict[str, Any] = {"objective": "hybrid", "schedule": "cosine", "sampler": "ancestral", "heads": 4, "flip": False}
    facts |= {"variance": None, "accumulate": 1}
    assert {name: written[name] for name in facts} == facts


def test_the_command_that_is_called_the_papers_is_the_papers() -> None:
    """README.md, "Unconditional CIFAR-10 with our L_hybrid objective", 500K; and the network that it makes."""
    text = (experiments.improved_ddpm.__doc__ or "").replace("\\\n", " ")
    (command,) = [line for line in text.splitlines() if "# the paper's" in line]
    words = shlex.split(command, comments=True)
    told = " ".join(words[words.index("experiments.improved_ddpm") + 1 :])
    flags = {name: value.strip() for name, value in re.findall(r"--([a-z-]+)((?: (?!--)\S+)*)", told)}
    flags.pop("data-dir")
    assert flags == {
        "dataset": "cifar10",
        "timesteps": "4000",
        "channels": "128 256 256 256",
        "blocks": "3",
        "attention": "16 8",
        "dropout": "0.3",
        "learning-rate": "1e-4",
        "batch-size": "128",
        "ema": "0.9999",
        "sampling-steps": "None",
        "nll-samples": "3999",
        "steps": "500000",
    }


def test_the_network_is_the_preset_with_the_flags(networks: list[Affine]) -> None:
    flags = {"blocks": 3, "attention": (16, 8), "heads": 4, "dropout": 0.3, "remat": True}
    make("improved_ddpm", **flags, channels=(128, 256, 256, 256), timesteps=4000, bf16=True)
    make("improved_ddpm", objective="simple", heads=2)
    presets.improved_ddpm()
    one, simple, preset = networks
    assert {name: getattr(one, name) for name in flags} == flags
    assert one.dtype == jnp.bfloat16
    same = ("channels", "blocks", "heads", "norm", "epsilon", "kernel_init", "last_init", "stride_padding", "width", "dropout")
    assert {name: getattr(one, name) for name in same} == {name: getattr(preset, name) for name in same}
    assert (one.outputs, simple.outputs, simple.heads) == (2, 1, 2)
    assert one.time is not None
    assert (one.time.scale, one.time.endpoint, one.time.cosines_first) == (0.25, False, True), "`rescale_timesteps`"
    assert preset.time is not None
    assert one.time.features == preset.time.features == 128


BATCH = {"image": BLACK}


def steps_of(loss: Loss) -> np.ndarray:
    """The steps t that are drawn, where the answer is the time: its error hides the noise."""
    loss(BLACK, of_time=1e5)
    return np.rint(np.sqrt(loss.noise_error) / 1e5).astype(int)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_hybrid_loss_is_the_authors(schedule: Any) -> None:
    """`training_losses` of RESCALED_MSE, where the network answers 0.2 x_t and a v of 0.4."""
    loss = loss_of(schedule=schedule, timesteps=40)
    t = steps_of(loss)
    assert np.bincount(t, minlength=42)[[0, 41]].tolist() == [0, 0]
    assert (np.bincount(t, minlength=41)[1:] > 0).all()
    chain = improved.Chain(cosine_betas(40) if schedule == "cosine" else linear_betas(40))
    for x in (0.0, 0.3):
        level = np.round((x + 1) * 127.5) / 127.5 - 1
        # The noise of the pixels: of the answers 0 and 1 the errors are eps^2 and (1 - eps)^2; a single pixel shows its own.
        one = np.full((512, 1, 1, 1), level)
        loss(one)
        square = loss.noise_error.copy()
        loss(one, constant=1.0)
        eps = ((1 + square - loss.noise_error) / 2).reshape(-1, 1, 1, 1)
        found = loss(one, of_x=0.2, v=0.4)
        out = np.concatenate([0.2 * chain.q_sample(one, t, eps), 0.4 + 0 * one], -1)
        expected = chain.training_losses(out, one, t, eps, "hybrid")
        sure = np.abs(chain.vb_terms_bpd(out, one, chain.q_sample(one, t, eps), t, clip=False)) < 20
        np.testing.assert_allclose(found[sure], expected[sure], rtol=0.02, atol=2e-3)


def test_the_bound_as_a_loss_is_the_authors_with_uniform_steps_at_first() -> None:
    """`training_losses` of RESCALED_KL under `loss-second-moment`; with the perfect answer only the variances' part is left."""
    loss = loss_of(objective="vlb", timesteps=20)
    law = SecondMoment(20)
    history = law.empty()
    loss(BLACK, of_time=1e5, vars={"history": history})
    t = np.rint(np.sqrt(loss.noise_error) / 1e5).astype(int)
    counts = np.bincount(t, minlength=21)
    assert counts[0] == 0
    np.testing.assert_array_equal(np.minimum(loss.vars["history"]["counts"], 10), np.minimum(counts[1:], 10))
    # With x_0 = 0 and the answer x_t / sigma the prediction is exact.
    chain = improved.Chain(cosine_betas(20))
    v = 0.7
    share = (v + 1) / 2 * np.log(chain.betas[2:] / chain.clipped[2:])
    kl = 0.5 * (np.exp(-share) - 1 + share) / np.log(2) * 20
    found = loss(BLACK[:, :1, :1], of_x=0.0, v=-1.0, vars={"history": history})
    assert np.isfinite(found).all()
    zero = loss_of(objective="vlb", timesteps=20)
    eps2 = zero(BLACK, vars={"history": history}, v=v)
    sigma2 = (1 - chain.bar)[t]
    weight = (chain.coefficient_x0**2 / (2 * chain.clipped.clip(1e-12)))[t]
    alpha2 = chain.bar[t]
    squared = sigma2 / alpha2 * zero.noise_error
    expected = kl[np.maximum(t - 2, 0)] + 20 / np.log(2) * weight * np.exp(-share[np.maximum(t - 2, 0)]) * squared
    np.testing.assert_allclose(eps2[t > 1], expected[t > 1], rtol=1e-3)


def full(law: SecondMoment) -> dict[str, Any]:
    """A history in which step 3 alone has losses of 10, and the others of 0.1."""
    losses = np.full((law.steps, law.history), 0.1, np.float32)
    losses[2] = 10.0
    return {"losses": jnp.asarray(losses), "counts": jnp.full(law.steps, law.history)}


def test_the_bounds_steps_are_drawn_by_their_losses() -> None:
    law, loss = SecondMoment(6), loss_of(objective="vlb", timesteps=6)
    history = full(law)
    p = 0.999 * np.array([0.1, 0.1, 10.0, 0.1, 0.1, 0.1]) / 10.5 + 0.001 / 6
    values = loss(BLACK, v=-1.0, vars={"history": history}, of_time=1e4)
    # The noise's error is weighted as the loss is: (1e4 t)^2 / (6 p_t).
    per_step = (1e4 * np.arange(1, 7)) ** 2 / (6 * p)
    t = 1 + np.abs(np.log(loss.noise_error[:, None] / per_step)).argmin(1)
    assert np.abs(np.log(loss.noise_error / per_step[t - 1])).max() < 0.01
    assert (t == 3).mean() == pytest.approx(p[2], abs=0.03)
    kept = np.asarray(loss.vars["history"]["losses"])[2]
    assert np.isin(np.float32(kept), np.float32(values[t == 3] * 6 * p[2])).any() or kept.min() > 10
    still = Loss(make("improved_ddpm", objective="vlb", timesteps=6))
    still(BLACK, train=False, vars={"history": history})
    np.testing.assert_array_equal(still.vars["history"]["losses"], history["losses"])


def test_the_history_is_a_variable_of_the_state_for_the_bound_alone() -> None:
    vars = {}
    for objective in ("hybrid", "vlb", "simple"):
        experiment = make("improved_ddpm", objective=objective)
        vars[objective] = experiment.initial(jax.random.key(0))[1]
        rules = experiment.players["model"].merge
        assert dict(rules) == ({"history": merging.same} if objective == "vlb" else {})
    assert vars["hybrid"] == vars["simple"] == {}
    assert vars["vlb"]["history"]["losses"].shape == (6, 10)


def test_the_simple_loss_is_that_of_ddpm() -> None:
    loss = loss_of(objective="simple", timesteps=40)
    np.testing.assert_allclose(loss(BLACK, constant=0.3), loss.noise_error, rtol=1e-5)
    assert loss(BLACK).mean() == pytest.approx(1, abs=0.1)


def bound_of(measured: list[Measured]) -> Any:
    """What is measured at the end, `(state, batch, key) -> values`."""
    return jax.jit(measured[-1].measure)


@pytest.mark.parametrize(
    ("flags", "v", "variance"),
    [
        ({}, 0.4, "learned"),
        ({"variance": "small"}, 0.4, "small"),
        ({"variance": "large"}, 0.4, "large"),
        ({"objective": "simple"}, 0.0, "small"),
        ({"objective": "vlb", "schedule": "linear"}, -0.7, "learned"),
    ],
)
def test_the_bound_is_the_authors_in_bits_a_dimension(
    flags: dict[str, Any], v: float, variance: str, measured: list[Measured]
) -> None:
    """`calc_bpd_loop` of all T terms of the whole chain, with predictions that are clipped to one number, 1."""
    make("improved_ddpm", **flags, timesteps=40, sampling_steps=3, nll_samples=39)
    chain = improved.Chain(linear_betas(40) if flags.get("schedule") == "linear" else cosine_betas(40))
    x = np.random.default_rng(0).integers(246, 256, (2, 3, 2, 1)) / 127.5 - 1
    found = bound_of(measured)(state_of(constant=-1e6, v=v), {"image": jnp.asarray(x, jnp.float32), "slot": jnp.arange(2)}, KEY)
    span = np.log(chain.betas[1:] / chain.clipped[1:])
    large = np.append(chain.clipped[1], chain.betas[2:])
    variances = {"small": chain.clipped[1:], "large": large, "learned": chain.clipped[1:] * np.exp((v + 1) / 2 * span)}[
        variance
    ]
    squared, ratio = ((x - 1) ** 2).mean((1, 2, 3))[:, None], chain.clipped[1:] / variances
    kl = 0.5 * (ratio - 1 - np.log(ratio)) + chain.coefficient_x0[1:] ** 2 * squared / (2 * variances)
    above = np.where(x > 0.999, np.inf, x + 1 / 255 - 1) / np.sqrt(variances[0])
    below = (x - 1 / 255 - 1) / np.sqrt(variances[0])
    decoder = -np.log(stats.norm.cdf(above) - stats.norm.cdf(below)).mean((1, 2, 3))
    np.testing.assert_allclose(found["transitions"], kl[:, 1:].sum(1) / np.log(2), rtol=2e-3)
    np.testing.assert_allclose(found["decoder"], decoder / np.log(2), rtol=2e-3)
    np.testing.assert_allclose(found["bits_per_dim"], found["transitions"] + found["decoder"] + found["prior"], rtol=1e-5)


@pytest.mark.parametrize(("samples", "values"), [(1, 3), (3, 1)])
def test_as_many_transitions_are_drawn_as_is_asked_for(samples: int, values: int, measured: list[Measured]) -> None:
    make("improved_ddpm", timesteps=4, nll_samples=samples)
    batch: Batch = {"image": jnp.full((100, 1, 1, 1), 0.9), "slot": jnp.arange(100)}
    found = np.asarray(bound_of(measured)(state_of(constant=-1e6), batch, KEY)["transitions"])
    assert len(np.unique(found.round(4))) == values


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        ({}, None),
        ({}, 3),
        ({"variance": "small"}, 3),
        ({"variance": "large"}, 3),
        ({"objective": "simple"}, 3),
        ({"sampler": "ddim"}, 3),
    ],
)
def test_samples_have_the_law_of_the_authors_chain(flags: dict[str, Any], steps: int | None) -> None:
    """`p_sample_loop` or `ddim_sample_loop` of `SpacedDiffusion`, where the noise is predicted to be 0.5 x_t and v 3."""
    experiment = make("improved_ddpm", **flags, timesteps=8, sampling_steps=steps)
    x = np.asarray(experiment.sample(state_of(of_x=0.5, v=3.0), KEY, jaxgen.given(1500)), np.float64) * 2 - 1
    chain = improved.spaced(improved.Chain(cosine_betas(8)), improved.space_timesteps(8, steps or 8))
    rng = np.random.default_rng(0)
    now = rng.normal(size=(200_000, 1)) * np.sqrt(1 - chain.bar[-1])
    for t in range(chain.steps, 0, -1):
        at = np.full(len(now), t)
        out = np.concatenate([0.5 * now, 3.0 + 0 * now], -1)
        mean, log_variance, x0 = chain.p_mean_variance(out, now, at, clip=True)
        if flags.get("sampler") == "ddim":
            eps = (now - np.sqrt(chain.bar[t]) * x0) / np.sqrt(1 - chain.bar[t])
            now = np.sqrt(chain.bar[t - 1]) * x0 + np.sqrt(1 - chain.bar[t - 1]) * eps
            continue
        fixed = "small" if flags.get("objective") == "simple" else flags.get("variance")
        std = {None: np.exp(0.5 * log_variance), "small": np.sqrt(chain.clipped[t]), "large": np.sqrt(chain.betas[t])}[fixed]
        now = mean + (t > 1) * std * rng.normal(size=now.shape)
    assert np.abs(x).std() == pytest.approx(np.abs(np.clip(now, -1, 1)).std(), abs=0.01)
    assert x.std() == pytest.approx(np.clip(now, -1, 1).std(), rel=0.02)


def test_the_network_hears_the_times_of_the_whole_chain() -> None:
    """Of 3 steps of 9 those of 1, 5 and 9: DDIM's last prediction, whose sign the time decides."""
    experiment = make("improved_ddpm", timesteps=9, sampling_steps=3, sampler="ddim")
    x = [np.asarray(experiment.sample(state_of(of_time=-1e3, constant=c), KEY, jaxgen.given(4))) for c in (500.0, 1500.0)]
    np.testing.assert_allclose(x[0], 1.0, atol=1e-6)
    np.testing.assert_allclose(x[1], 0.0, atol=1e-6)


def test_a_variance_that_is_not_learned_is_refused() -> None:
    with pytest.raises(jaxgen.UserError, match=r"^--objective simple trains no variance; give --variance small or large"):
        make("improved_ddpm", objective="simple", variance="learned")
    with pytest.raises(jaxgen.UserError, match="more than --timesteps"):
        make("improved_ddpm", timesteps=6, sampling_steps=7)


def test_dropout_is_for_training_alone(measured: list[Measured]) -> None:
    experiment = make("improved_ddpm")
    loss_of()(BLACK, in_training=10.0)
    assert loss_of().noise_error.mean() > 50
    batch: Batch = {"image": jnp.zeros((200, 1, 1, 1)), "slot": jnp.arange(200)}
    found = jax.jit(measured[0].measure)(state_of(in_training=10.0), batch, KEY)
    assert found["noise_error"].mean() < 5
    samples = [np.asarray(experiment.sample(state_of(in_training=t), KEY, jaxgen.given(4))) for t in (0.0, 10.0)]
    np.testing.assert_array_equal(*samples)


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_lie_in_minus_1_to_1_and_training_images_alone_are_mirrored(flip: bool, measured: list[Measured]) -> None:
    experiment = make("improved_ddpm", flip=flip)
    image = jnp.asarray([[[0], [51], [255]]], jnp.uint8)
    scaled = [-1.0, -0.6, 1.0]
    batch: Batch = {"image": jnp.tile(image, (400, 1, 1, 1)), "slot": jnp.arange(400), "index": jnp.arange(400)}
    seen = np.asarray(experiment.train.transform(batch, KEY)["image"]).reshape(400, 3)
    mirrored = np.isclose(seen, scaled[::-1], atol=1e-6).all(1)
    assert (mirrored | np.isclose(seen, scaled, atol=1e-6).all(1)).all()
    assert mirrored.mean() == (pytest.approx(0.5, abs=0.1) if flip else 0)
    assert len(measured) == 2
    for _, _, transform in measured:
        found = transform({"image": image, "index": 3}, jax.random.key(3))["image"].ravel()
        np.testing.assert_allclose(found, scaled, atol=1e-6)


def test_the_training_split_trains_and_the_test_split_is_measured_and_shown(measured: list[Measured]) -> None:
    experiment = make("improved_ddpm")
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360, 360]
    shown = np.asarray(experiment.pictures["forward"](state_of(), KEY).images)
    test = data.load("digits", "test").gather(np.arange(8))["image"]
    np.testing.assert_allclose(shown.reshape(8, -1, 8, 8, 1)[:, 0], test / 255, atol=1e-6)
    drawn = experiment.pictures["samples"](state_of(), KEY).caption
    assert drawn.startswith("Samples, 4 ancestral steps;")


def test_adam_sees_the_gradients_as_they_are_and_parameters_are_averaged() -> None:
    """`AdamW` without decay, no clipping and no warm-up."""
    experiment = make("improved_ddpm", learning_rate=1e-4, ema=0.9, accumulate=2)
    assert (experiment.ema, experiment.accumulate) == (0.9, 2)
    tx, params = experiment.players["model"].tx, {"w": jnp.full(2, 5.0)}
    opt = tx.init(params)
    m = v = 0.0
    for step, g in enumerate((np.array([3e2, 4e2]), np.array([3e-2, -4e-2])), start=1):
        moved, opt = tx.update({"w": jnp.asarray(g, jnp.float32)}, opt, params)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected = -1e-4 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(moved["w"], expected, rtol=1e-3)
