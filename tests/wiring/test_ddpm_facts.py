"""What `experiments.ddpm` is wired to, held against Ho et al. 2020 and the authors' code (github.com/hojonathanho/diffusion:
scripts/run_cifar.py, diffusion_tf/diffusion_utils_2.py, utils.py and tpu_utils/tpu_utils.py); the cosine schedule is that of
Nichol & Dhariwal 2021, equation 17, DDIM that of Song et al. 2020, equation 12, and v that of Salimans & Ho 2022, appendix D.

An affine network stands in for the U-Net. The authors' code counts steps from 0, their paper and this package from 1."""

import functools
import inspect
import math
import re
import shlex
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from scipy import stats
from wiring.affine import Affine, Loss, recording, state_of
from wiring.conftest import Measured

import experiments.ddpm
import jaxgen
from jaxgen import data
from jaxgen.types import Batch

KEY = jax.random.key(2)
BETAS = np.linspace(1e-4, 0.02, 1000)
"""Of the authors' CIFAR-10 model: `beta_start`, `beta_end` and `num_diffusion_timesteps`."""


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> list[Affine]:
    """The networks that a test's experiments make."""
    made: list[Affine] = []
    monkeypatch.setattr(experiments.ddpm, "UNet", recording(made))
    return made


def whole(**flags: Any) -> jaxgen.Experiment:
    """An experiment with the paper's T."""
    return make("ddpm", **{"timesteps": 1000, **flags})


@functools.cache
def loss_of(**flags: Any) -> Loss:
    """The loss with the paper's T, compiled once for all tests."""
    return Loss(whole(**flags))


def bound_of(measured: list[Measured]) -> Any:
    """What is measured at the end, `(state, batch, key) -> values`."""
    return jax.jit(measured[-1].measure)


def cosine_betas(steps: int) -> np.ndarray:
    f = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def test_the_defaults_are_the_papers_where_they_do_not_depend_on_the_images() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.ddpm.experiment).parameters.items()}
    facts: dict[str, Any] = {"timesteps": 1000, "schedule": "linear", "parameterisation": "epsilon", "sampler": "ancestral"}
    facts |= {"dropout": 0.1, "attention": (16,), "modulation": "additive", "clip": 1.0, "labels": False, "flip": False}
    assert {name: written[name] for name in facts} == facts


def test_the_command_that_is_called_the_papers_is_the_papers() -> None:
    text = (experiments.ddpm.__doc__ or "").replace("\\\n", " ")
    (command,) = [line for line in text.splitlines() if "# the paper's" in line]
    words = shlex.split(command, comments=True)
    told = " ".join(words[words.index("experiments.ddpm") + 1 :])
    flags = {name: value.strip() for name, value in re.findall(r"--([a-z-]+)((?: (?!--)\S+)*)", told)}
    flags.pop("data-dir")
    assert flags == {
        "dataset": "cifar10",
        "channels": "128 256 256 256",
        "blocks": "2",
        "flip": "",
        "variance": "large",
        "learning-rate": "2e-4",
        "warmup": "5000",
        "batch-size": "128",
        "ema": "0.9999",
        "sampling-steps": "None",
        "steps": "800000",
    }


def test_the_flags_of_the_network_reach_it(networks: list[Affine]) -> None:
    flags = {"channels": (8, 4), "blocks": 3, "attention": (2, 4), "dropout": 0.3, "remat": True}
    make("ddpm", **flags, labels=True, bf16=True)
    make("ddpm", modulation="adaptive")
    one, other = networks
    assert {name: getattr(one, name) for name in flags} == flags
    assert (one.classes, one.dtype, one.norm) == (10, jnp.bfloat16, jaxgen.nn.AdditiveGroupNorm)
    assert (other.classes, other.dtype, other.norm) == (0, jnp.float32, jaxgen.nn.AdaptiveGroupNorm)
    assert other.time is None, "sines and cosines of the step"


BLACK = np.zeros((128, 4, 4, 1))


def steps_of() -> np.ndarray:
    """The steps t that are drawn for the examples: where the answer is the time, it hides the noise."""
    return np.rint(np.sqrt(loss_of()(BLACK, of_time=1000.0)) / 1000).astype(int)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_x_t_has_the_signal_and_the_noise_of_the_schedule(schedule: str) -> None:
    """The answer x_t is alpha_t x_0 where x_0 is large; the answer -x_t has the error (sigma_t + 1)^2 eps^2 where x_0 is 0."""
    loss = loss_of() if schedule == "linear" else loss_of(schedule="cosine")
    alphas_cumprod = np.cumprod(1 - (BETAS if schedule == "linear" else cosine_betas(1000)))[steps_of() - 1]
    sigma = np.sqrt(loss(BLACK, of_x=-1.0) / loss(BLACK)) - 1
    np.testing.assert_allclose(sigma, np.sqrt(1 - alphas_cumprod), rtol=1e-3, atol=1e-5)
    alpha = np.sqrt(loss(BLACK + 1e4, of_x=1.0)) / 1e4
    np.testing.assert_allclose(alpha, np.sqrt(alphas_cumprod), atol=1e-3)


def test_steps_are_uniform_from_1_to_t() -> None:
    t = np.rint(np.sqrt(Loss(make("ddpm", timesteps=4))(np.zeros((4000, 1, 1, 1)), of_time=1e5)) / 1e5).astype(int)
    np.testing.assert_allclose(np.bincount(t, minlength=6) / 4000, [0, 0.25, 0.25, 0.25, 0.25, 0], atol=0.03)


@pytest.mark.parametrize("parameterisation", ["epsilon", "x0", "v", "score"])
def test_the_loss_is_the_mean_squared_error_of_what_is_predicted(parameterisation: Any) -> None:
    """Without a weight that depends on t, L_simple; the score's is weighted by sigma^2, as in Song & Ermon 2019."""
    loss = loss_of() if parameterisation == "epsilon" else loss_of(parameterisation=parameterisation)
    eps2, alpha2 = loss_of()(BLACK), np.cumprod(1 - BETAS)[steps_of() - 1]
    assert eps2.mean() == pytest.approx(1, abs=0.05)
    for x, rtol in ((0.0, 1e-4), (1e4, 0.02)):
        v = alpha2 * eps2 if x == 0 else (1 - alpha2) * x**2
        expected = {"epsilon": eps2, "x0": x**2 + 0 * eps2, "v": v, "score": eps2}[parameterisation]
        np.testing.assert_allclose(loss(BLACK + x), expected, rtol=rtol)
        if parameterisation in ("epsilon", "score"):
            np.testing.assert_allclose(loss.noise_error, eps2, rtol=1e-4)


def test_dropout_is_for_training_alone(measured: list[Measured]) -> None:
    make("ddpm")
    assert loss_of()(BLACK, in_training=10.0).mean() > 50
    batch: Batch = {"image": jnp.zeros((200, 1, 1, 1)), "slot": jnp.arange(200)}
    found = jax.jit(measured[0].measure)(state_of(in_training=10.0), batch, KEY)
    np.testing.assert_allclose(found["loss"].mean(), 1, atol=0.3)
    bound = bound_of(measured)
    plain, spoilt = (bound(state, batch, KEY)["bits_per_dim"] for state in (state_of(), state_of(in_training=10.0)))
    np.testing.assert_array_equal(plain, spoilt)


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_lie_in_minus_1_to_1_and_training_images_alone_are_mirrored(flip: bool, measured: list[Measured]) -> None:
    """`normalize_data` is x / 127.5 - 1, without noise of dequantisation; `randflip` is of `train_fn`."""
    experiment = make("ddpm", flip=flip)
    image = jnp.asarray([[[0], [51], [255]]], jnp.uint8)
    scaled = [-1.0, -0.6, 1.0]
    batch: Batch = {"image": jnp.tile(image, (400, 1, 1, 1)), "slot": jnp.arange(400), "index": jnp.arange(400)}
    seen = np.asarray(experiment.train.transform(batch, KEY)["image"]).reshape(400, 3)
    mirrored = np.isclose(seen, scaled[::-1], atol=1e-6).all(1)
    assert (mirrored | np.isclose(seen, scaled, atol=1e-6).all(1)).all()
    assert mirrored.mean() == (pytest.approx(0.5, abs=0.1) if flip else 0)
    assert len(measured) == 2
    for _, _, transform in measured:
        for i in range(8):
            found = transform({"image": image, "index": i}, jax.random.key(i))["image"].ravel()
            np.testing.assert_allclose(found, scaled, atol=1e-6)


def test_the_training_split_trains_and_the_test_split_is_measured_and_shown(measured: list[Measured]) -> None:
    experiment = make("ddpm")
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360, 360]
    shown = np.asarray(experiment.pictures["forward"](state_of(), KEY).images)
    test = data.load("digits", "test").gather(np.arange(8))["image"]
    np.testing.assert_allclose(shown.reshape(8, -1, 8, 8, 1)[:, 0], test / 255, atol=1e-6)


def vb_terms_bpd(x: np.ndarray, guess: float, betas: np.ndarray, variance: str) -> tuple[float, float, float]:
    """`calc_bpd_loop`: the prior, the KLs and the decoder in bits a dimension, where x_0 is predicted to be `guess`."""
    cumulative = np.cumprod(1 - betas)
    before = np.append(1.0, cumulative[:-1])
    posterior_variance = betas * (1 - before) / (1 - cumulative)
    coef1 = betas * np.sqrt(before) / (1 - cumulative)
    clipped = np.append(posterior_variance[1], posterior_variance[1:])
    model = {"small": clipped, "large": np.append(posterior_variance[1], betas[1:])}[variance]
    squared = ((x - guess) ** 2).mean()
    kl = 0.5 * (-1 + np.log(model / clipped) + clipped / model + coef1**2 * squared / model)[1:].sum()
    prior = 0.5 * (-1 - np.log(1 - cumulative[-1]) + 1 - cumulative[-1] + cumulative[-1] * (x**2).mean())
    above = np.where(x > 0.999, np.inf, x + 1 / 255 - guess) / np.sqrt(model[0])
    below = np.where(x < -0.999, -np.inf, x - 1 / 255 - guess) / np.sqrt(model[0])
    decoder = -np.log(stats.norm.cdf(above) - stats.norm.cdf(below)).mean()
    return prior / math.log(2), kl / math.log(2), decoder / math.log(2)


@pytest.mark.parametrize(("variance", "schedule"), [("small", "linear"), ("large", "cosine"), ("large", "linear")])
def test_the_bound_is_the_authors_in_bits_a_dimension(variance: Any, schedule: str, measured: list[Measured]) -> None:
    """Of all T - 1 transitions, with predictions that are clipped to [-1, 1]."""
    flags = {"parameterisation": "x0", "variance": variance, "schedule": schedule, "timesteps": 40, "sampling_steps": 3}
    make("ddpm", **flags, nll_samples=39)
    betas = np.linspace(0.1 / 40, 20 / 40, 40) if schedule == "linear" else cosine_betas(40)
    bound = bound_of(measured)
    for guess in (0.1, 3.0, -3.0):
        inside = min(max(guess, -1.0), 1.0)
        middle = round((inside + 1) * 127.5)
        levels = np.clip(np.random.default_rng(0).integers(middle - 9, middle + 10, (2, 3, 2, 3)), 0, 255)
        x = levels / 127.5 - 1
        found = bound(state_of(constant=guess), {"image": jnp.asarray(x, jnp.float32), "slot": jnp.arange(2)}, KEY)
        for i in range(2):
            parts = vb_terms_bpd(x[i], inside, betas, variance)
            for name, value in zip(("prior", "transitions", "decoder"), parts, strict=True):
                assert found[name][i] == pytest.approx(value, rel=2e-3, abs=1e-5), name
            assert found["bits_per_dim"][i] == pytest.approx(sum(parts), rel=2e-3)


@pytest.mark.parametrize("parameterisation", ["epsilon", "v", "score"])
def test_a_network_means_in_sampling_what_it_is_trained_for(parameterisation: Any) -> None:
    """With the answer 0 the data are alpha x_t by v and x_t / alpha by the others: from there on by DDIM."""
    experiment = make("ddpm", parameterisation=parameterisation, timesteps=4, sampling_steps=None, sampler="ddim")
    x = np.asarray(experiment.sample(state_of(), KEY, jaxgen.given(500)), np.float64) * 2 - 1
    cumulative = np.append(1.0, np.cumprod(1 - np.linspace(0.1 / 4, 0.999, 4)))
    expected = np.random.default_rng(0).normal(size=200_000) * np.sqrt(1 - cumulative[4])
    for t in (4, 3, 2, 1):
        alpha, sigma = np.sqrt(cumulative[t]), np.sqrt(1 - cumulative[t])
        x0 = np.clip(alpha * expected if parameterisation == "v" else expected / alpha, -1, 1)
        eps = (expected - alpha * x0) / sigma
        expected = np.sqrt(cumulative[t - 1]) * x0 + np.sqrt(1 - cumulative[t - 1]) * eps
    assert x.std() == pytest.approx(np.clip(expected, -1, 1).std(), rel=0.02)


@pytest.mark.parametrize(("samples", "values"), [(1, 3), (3, 1)])
def test_as_many_transitions_are_drawn_as_is_asked_for(samples: int, values: int, measured: list[Measured]) -> None:
    """Of T - 1 = 3. Where x_0 is predicted the same from anything, one has three values, and all of them one."""
    make("ddpm", parameterisation="x0", timesteps=4, nll_samples=samples)
    batch: Batch = {"image": jnp.full((100, 1, 1, 1), 0.3), "slot": jnp.arange(100)}
    found = np.asarray(bound_of(measured)(state_of(constant=0.28), batch, KEY)["transitions"])
    assert len(np.unique(found.round(4))) == values


@pytest.mark.parametrize(("sampler", "steps", "heard"), [("ancestral", 100, 10), ("ddim", 10, 100), ("ancestral", None, 1)])
def test_the_sampler_walks_evenly_spaced_steps_of_the_chain_and_its_network_hears_their_times(
    sampler: Any, steps: int | None, heard: int
) -> None:
    experiment = whole(parameterisation="x0", sampler=sampler, sampling_steps=steps)
    x = np.asarray(experiment.sample(state_of(of_time=5e-4), KEY, jaxgen.given(3)))
    np.testing.assert_allclose(x, (5e-4 * heard + 1) / 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("sampler", "variance", "steps"),
    [
        ("ancestral", "small", None),
        ("ancestral", "large", None),
        ("ancestral", "large", 2),
        ("ddim", "small", None),
        ("ddim", "large", 2),
    ],
)
def test_samples_have_the_law_of_the_authors_chain(sampler: Any, variance: Any, steps: int | None) -> None:
    """A network that predicts x_0 = 0.3 x_t makes x_{t-1} normal; samples are 0.3 x_1, brought to [0, 1]."""
    experiment = make(
        "ddpm", **{"parameterisation": "x0", "sampler": sampler, "variance": variance, "timesteps": 4}, sampling_steps=steps
    )
    x = np.asarray(experiment.sample(state_of(of_x=0.3), KEY, jaxgen.given(1500)), np.float64) * 2 - 1
    cumulative = np.append(1.0, np.cumprod(1 - np.linspace(0.1 / 4, 0.999, 4)))[:: 4 // (steps or 4)]
    betas = 1 - cumulative[1:] / cumulative[:-1]
    small = betas * (1 - cumulative[:-1]) / (1 - cumulative[1:])
    expected = np.random.default_rng(0).normal(size=200_000) * np.sqrt(1 - cumulative[-1])
    for t in range(len(betas), 1, -1):
        x0 = np.clip(0.3 * expected, -1, 1)
        after, now = cumulative[t - 1], cumulative[t]
        if sampler == "ddim":
            expected = np.sqrt(after) * x0 + np.sqrt((1 - after) / (1 - now)) * (expected - np.sqrt(now) * x0)
            continue
        mean = np.sqrt(after) * betas[t - 1] * x0 + np.sqrt(1 - betas[t - 1]) * (1 - after) * expected
        std = math.sqrt((small if variance == "small" else betas)[t - 1])
        expected = mean / (1 - now) + std * np.random.default_rng(t).normal(size=len(expected))
    assert x.std() == pytest.approx(0.3 * expected.std(), rel=0.01)
    assert x.mean() == pytest.approx(0, abs=0.01)


def test_sampling_starts_at_t_the_most_noise() -> None:
    """In the first column of the picture: N(0, sigma_T^2), of which a share is beyond the range of pixels."""
    experiment = make("ddpm", timesteps=8, sampling_steps=2)
    drawn = [experiment.pictures["reverse"](state_of(), jax.random.key(i)) for i in range(8)]
    first = np.concatenate([np.asarray(p.images).reshape(8, p.columns, -1)[:, 0].ravel() for p in drawn])
    sigma = math.sqrt(1 - np.prod(1 - np.linspace(0.1 / 8, 0.999, 8)))
    assert (first == 0).mean() == pytest.approx(stats.norm.cdf(-1 / sigma), abs=0.03)
    assert (first == 1).mean() == pytest.approx(stats.norm.cdf(-1 / sigma), abs=0.03)
    assert drawn[0].columns == 16
    assert first.mean() == pytest.approx(0.5, abs=0.03)


def test_samples_are_in_0_1_whatever_is_predicted() -> None:
    experiment = make("ddpm", parameterisation="x0", sampler="ddim")
    for constant, pixel in ((-5.0, 0.0), (5.0, 1.0), (0.4, 0.7)):
        np.testing.assert_allclose(experiment.sample(state_of(constant=constant), KEY, jaxgen.given(64)), pixel, atol=1e-6)
    assert experiment.pictures["samples"](state_of(), KEY).caption.startswith("Samples, 4 ddim steps;")


def test_the_forward_picture_ends_in_noise() -> None:
    for timesteps, columns in ((1000, 16), (6, 7)):
        experiment = make("ddpm", timesteps=timesteps)
        picture = experiment.pictures["forward"](state_of(), KEY)
        assert picture.columns == columns
        last = np.asarray(picture.images).reshape(8, columns, -1)[:, -1]
        assert (last == 0).mean() == pytest.approx(stats.norm.cdf(-1), abs=0.06)


def test_the_network_is_told_each_examples_class(measured: list[Measured]) -> None:
    """In training, in the bound and in sampling, where the i-th is of class i modulo their number."""
    experiment = make("ddpm", labels=True, parameterisation="x0", timesteps=3, sampling_steps=3, nll_samples=2)
    label = jnp.asarray([0, 3, 9, 3])
    loss = Loss(experiment)(np.full((4, 2, 2, 1), 0.3), label=label, of_label=0.1)
    np.testing.assert_allclose(loss, (0.1 * np.asarray(label) - 0.3) ** 2, atol=1e-5)
    x = np.full((4, 2, 2, 1), 0.3)
    batch: Batch = {"image": jnp.asarray(x, jnp.float32), "slot": jnp.arange(4), "label": label}
    state = state_of(of_label=0.1, constant=0.01)
    found = bound_of(measured)(state, batch, KEY)["transitions"]
    betas = np.linspace(0.1 / 3, 0.999, 3)
    with np.errstate(divide="ignore"):
        expected = [vb_terms_bpd(x[0], min(0.1 * y + 0.01, 1.0), betas, "small")[1] for y in label.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    samples = np.asarray(experiment.sample(state_of(of_label=0.1), KEY, jaxgen.given(23, experiment.given)))
    np.testing.assert_allclose(samples[:, 0, 0, 0], (0.1 * (np.arange(23) % 10) + 1) / 2, rtol=1e-5)
    assert experiment.given is not None
    assert experiment.given.examples.length == 10
    assert make("ddpm").given is None


def test_a_network_without_labels_hears_none(measured: list[Measured]) -> None:
    experiment = make("ddpm", parameterisation="x0")
    state = state_of(of_label=1.0)
    np.testing.assert_allclose(experiment.sample(state, KEY, jaxgen.given(12)), 0.5, atol=1e-6)


def moves(experiment: jaxgen.Experiment, gradients: list[np.ndarray]) -> list[np.ndarray]:
    tx, w = experiment.players["model"].tx, {"w": jnp.zeros(3)}
    opt, out = tx.init(w), []
    for g in gradients:
        updates, opt = tx.update({"w": jnp.asarray(g, jnp.float32)}, opt, w)
        out.append(np.asarray(updates["w"]))
    return out


@pytest.mark.parametrize("clip", [1.0, 5.0])
def test_the_gradients_global_norm_is_bounded_before_adam(clip: float) -> None:
    """`make_optimizer`: Adam with its usual betas and 1e-8 after `clip_by_global_norm(grad_clip)`."""
    gradients = [np.array([0.06, 0.08, 0.0]), np.array([30.0, 0.0, 40.0]), np.array([0.0, 3.0, 0.0])]
    m = v = 0.0
    for step, (g, move) in enumerate(zip(gradients, moves(make("ddpm", clip=clip), gradients), strict=True), start=1):
        g = g * min(1.0, clip / np.linalg.norm(g))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected = -1e-3 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(move, expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("warmup", [0, 5])
def test_the_rate_rises_along_a_line_and_stays(warmup: int) -> None:
    """`get_warmed_up_lr`: lr min(global_step / warmup, 1), which is 0 at the first step."""
    experiment = make("ddpm", warmup=warmup, learning_rate=2e-4)
    expected = [2e-4 * (min(step / warmup, 1) if warmup else 1) for step in range(9)]
    # Of a constant gradient Adam's move is the rate.
    np.testing.assert_allclose([-m[0] for m in moves(experiment, [np.ones(3)] * 9)], expected, rtol=1e-4, atol=1e-10)
    np.testing.assert_allclose([experiment.schedules["learning_rate"](step) for step in range(9)], expected, rtol=1e-5)


def test_the_averages_are_evaluated_and_sampled_from() -> None:
    experiment = make("ddpm", parameterisation="x0", sampler="ddim", ema=0.9, accumulate=2, batch_size=360)
    assert (experiment.ema, experiment.accumulate) == (0.9, 2)
    own, other = (state_of(constant=c) for c in (-0.8, 0.4))
    run = jaxgen.Run(experiment, own._replace(ema=other.params), 0, 0)
    np.testing.assert_allclose(run.sample(3), 0.7, atol=1e-6)
    found = run.evaluate()["test"]
    test = data.load("digits", "test").gather(np.arange(360))["image"] / 127.5 - 1
    assert found["loss"] == pytest.approx(((test - 0.4) ** 2).mean(), rel=1e-4)
    assert {"bits_per_dim", "bits_per_dim_stderr", "prior", "transitions", "decoder"} <= set(found)


@pytest.mark.parametrize("parameterisation", ["epsilon", "v"])
@pytest.mark.parametrize("weighting", ["p2", "min_snr"])
def test_the_noises_error_is_weighted_by_its_level(weighting: Any, parameterisation: Any) -> None:
    """P2 of Choi et al. 2022 with k = 1 and gamma = 1, and min-SNR of Hang et al. 2023 with 5, whatever is predicted."""
    loss = loss_of(weighting=weighting, parameterisation=parameterisation)
    found = loss(BLACK, of_x=0.3)
    snr = np.cumprod(1 - BETAS)[steps_of() - 1]
    snr = snr / (1 - snr)
    weight = 1 / (1 + snr) if weighting == "p2" else np.minimum(snr, 5) / snr
    np.testing.assert_allclose(found, weight * loss.noise_error, rtol=2e-2, atol=1e-6)


@pytest.mark.parametrize("sampler", ["dpm_solver_pp", "unipc"])
def test_solvers_of_higher_order_come_to_the_end_of_the_flow_in_fewer_steps(sampler: Any) -> None:
    """The end of DDIM with 400 steps, within a third of what DDIM of as few steps errs."""
    ends = []
    for name, steps in (("ddim", None), ("ddim", 50), (sampler, 50)):
        experiment = whole(sampler=name, sampling_steps=steps, timesteps=400)
        ends.append(np.asarray(experiment.sample(state_of(of_x=0.9), KEY, jaxgen.given(50)), np.float64))
    errors = [np.abs(end - ends[0]).mean() for end in ends[1:]]
    assert errors[1] < errors[0]
    assert np.abs(ends[1] - ends[2]).max() > 1e-4, "another sampler"
