"""What `experiments.dit` is wired to, held against Peebles & Xie 2023 and the authors' code (github.com/facebookresearch/DiT:
models.py, train.py, sample.py, diffusion/).

An affine network stands in for the Transformer; it answers a number for v, and 10 stands for no class. `improved` has
the formulas of the diffusion, which is that of improved DDPM, in numpy."""

import functools
import inspect
import re
import shlex
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import improved
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.affine import Loss, answer, state_of
from wiring.conftest import Measured
from wiring.test_improved_ddpm_facts import cosine_betas, linear_betas

import experiments.dit as module
import jaxgen
from jaxgen import data, diffusion
from jaxgen.models.diffusion import DiT
from jaxgen.types import Batch

NAME, KEY = "dit", jax.random.key(2)
LEVEL = diffusion.cosine(1000).level(300)
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)
LABEL = jnp.asarray([0, 3, 9])
BLACK, THREES = np.zeros((512, 1, 1, 1)), jnp.full(512, 3)


class AffineDiT(DiT):
    @nn.compact
    def __call__(self, x: Any, time: Any, label: Any = None, *, train: bool = False) -> Any:
        return answer(self, x, time, label, train)


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> list[AffineDiT]:
    """The networks that a test's experiments make."""
    made: list[AffineDiT] = []

    def note(*args: Any, **flags: Any) -> AffineDiT:
        made.append(AffineDiT(*args, **flags))
        return made[-1]

    monkeypatch.setattr(module, "DiT", note)
    return made


@pytest.fixture
def denoiser(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What is sampled with, `denoise(state, batch)(x, level)`, by the flags of an experiment."""

    def of(**flags: Any) -> Any:
        made: list[Any] = []
        of_sampler = module.diffusion_model.of_sampler

        def seen(denoise: Any, *rest: Any, **how: Any) -> Any:
            made.append(denoise)
            return of_sampler(denoise, *rest, **how)

        with monkeypatch.context() as patch:
            patch.setattr(module.diffusion_model, "of_sampler", seen)
            make(NAME, **{"timesteps": 1000, **flags})
        return made[0]

    return of


@functools.cache
def loss_of(**flags: Any) -> Loss:
    return Loss(make(NAME, **flags))


def betas(flags: dict[str, Any], steps: int) -> np.ndarray:
    return (linear_betas if flags.get("schedule") == "linear" else cosine_betas)(steps)


def test_the_defaults_are_the_papers_where_they_do_not_depend_on_the_images() -> None:
    written = {name: p.default for name, p in inspect.signature(module.experiment).parameters.items()}
    facts: dict[str, Any] = {"drop": 0.1, "timesteps": 1000, "sampler": "ancestral", "variance": "learned", "patch": 2}
    facts |= {"interval": None, "accumulate": 1, "flip": False}
    assert {name: written[name] for name in facts} == facts


def test_the_command_that_is_called_the_papers_is_the_papers() -> None:
    """train.py and models.py (`DiT_XL_4`), and README.md, 400K steps; but for the pixels in place of latents."""
    text = (module.__doc__ or "").replace("\\\n", " ")
    (command,) = [line for line in text.splitlines() if "# the paper's" in line]
    words = shlex.split(command, comments=True)
    told = " ".join(words[words.index("experiments.dit") + 1 :])
    flags = {name: value.strip() for name, value in re.findall(r"--([a-z0-9-]+)((?: (?!--)\S+)*)", told)}
    facts = {"patch": "4", "width": "1152", "depth": "28", "heads": "16", "flip": "", "schedule": "linear"}
    facts |= {"learning-rate": "1e-4", "batch-size": "256", "ema": "0.9999", "sampling-steps": "250", "steps": "400000"}
    assert {name: flags[name] for name in facts} == facts


def test_the_network_gets_its_flags(networks: list[AffineDiT]) -> None:
    make(NAME, patch=4, width=20, depth=3, heads=5, remat=True, bf16=True)
    make(NAME)
    one, two = networks
    assert (one.patch, one.width, one.depth, one.heads, one.classes, one.outputs) == (4, 20, 3, 5, 10, 2)
    assert (one.remat, one.dtype, two.remat, two.dtype) == (True, jnp.bfloat16, False, jnp.float32)
    time: Any = one.time
    assert (time.features, time.scale, time.endpoint, time.cosines_first) == (256, 1.0, False, True)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_loss_is_the_authors(schedule: Any) -> None:
    """`training_losses` of MSE with LEARNED_RANGE at T = 1000, where T / 1000 is 1; the answer is 0.2 x_t and a v of 0.4."""
    loss = loss_of(schedule=schedule, timesteps=1000, drop=0.0)
    loss(BLACK, of_time=1e5, label=THREES)
    t = np.rint(np.sqrt(loss.noise_error) / 1e5).astype(int)
    assert (t.min() >= 1, t.max() <= 1000, len(np.unique(t)) > 300) == (True, True, True)
    chain = improved.Chain(betas({"schedule": schedule}, 1000))
    one = np.full((512, 1, 1, 1), 38 / 255)
    loss(one, label=THREES)
    square = loss.noise_error.copy()
    loss(one, constant=1.0, label=THREES)
    eps = ((1 + square - loss.noise_error) / 2).reshape(-1, 1, 1, 1)
    found = loss(one, of_x=0.2, v=0.4, label=THREES)
    out = np.concatenate([0.2 * chain.q_sample(one, t, eps), 0.4 + 0 * one], -1)
    expected = chain.training_losses(out, one, t, eps, "hybrid")
    sure = np.abs(chain.vb_terms_bpd(out, one, chain.q_sample(one, t, eps), t, clip=False)) < 5
    assert sure.mean() > 0.5
    np.testing.assert_allclose(found[sure], expected[sure], rtol=0.02, atol=5e-3)


def test_a_share_of_the_examples_has_no_class_in_training_alone() -> None:
    """`LabelEmbedder.token_drop`: the number of the classes, 10, in place of the class."""
    loss = loss_of(drop=0.25)
    images, label = np.zeros((2000, 2, 2, 1)), jnp.full(2000, 3)
    found = []
    for train in (False, True):
        loss(images, train=train, label=label, of_label=0.1)
        found.append(loss.noise_error)
    plain, trained = found
    dropped = np.abs(trained - plain) > 1e-6
    assert dropped.mean() == pytest.approx(0.25, abs=0.03)
    assert (trained - plain)[dropped].mean() == pytest.approx(0.91, abs=0.1)  # (1 - e)^2 - (0.3 - e)^2, e of mean 0


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_all_channels_of_the_noise_are_guided_and_then_the_image_is_clipped(denoiser: Callable[..., Any], scale: float) -> None:
    """`forward_with_cfg`, which guides three of four channels as written and all of them by its other line; v is not guided."""
    found = denoiser(guidance=scale)(state_of(of_label=0.1, v=0.4), {"label": LABEL})(X, LEVEL)
    eps = 1.0 + scale * (0.1 * LABEL - 1.0).reshape(3, 1, 1, 1)
    x0 = np.clip((X - LEVEL.sigma * eps) / LEVEL.alpha, -1, 1)
    np.testing.assert_allclose(found.x0, x0, atol=1e-5)
    np.testing.assert_allclose(found.v, 0.4 + 0 * X, atol=1e-6)
    assert 0 < (np.abs(x0) == 1).mean() < 1


def test_outside_of_the_interval_nothing_is_guided(denoiser: Callable[..., Any]) -> None:
    ratio, state, batch = float(LEVEL.sigma / LEVEL.alpha), state_of(of_label=0.1), {"label": LABEL}
    of = lambda **flags: denoiser(**flags)(state, batch)(X, LEVEL).x0
    np.testing.assert_array_equal(of(guidance=4.0, interval=(ratio / 2, ratio * 2)), of(guidance=4.0))
    np.testing.assert_allclose(of(guidance=4.0, interval=(ratio * 2, ratio * 3)), of(guidance=1.0), atol=1e-6)


@pytest.mark.parametrize(("variance", "schedule"), [("learned", "cosine"), ("small", "linear"), ("large", "cosine")])
def test_samples_have_the_law_of_the_authors_chain(variance: str, schedule: str) -> None:
    """`p_sample_loop` of `SpacedDiffusion`, where the noise is predicted to be 0.5 x_t and v 3."""
    experiment = make(NAME, variance=variance, schedule=schedule, timesteps=40, sampling_steps=3, guidance=1.0)
    given = jaxgen.given(1500, experiment.given)
    x = np.asarray(experiment.sample(state_of(of_x=0.5, v=3.0), KEY, given), np.float64) * 2 - 1
    chain = improved.spaced(improved.Chain(betas({"schedule": schedule}, 40)), improved.space_timesteps(40, 3))
    rng = np.random.default_rng(0)
    now = rng.normal(size=(200_000, 1)) * np.sqrt(1 - chain.bar[-1])
    for t in range(chain.steps, 0, -1):
        out = np.concatenate([0.5 * now, 3.0 + 0 * now], -1)
        mean, log_variance, _ = chain.p_mean_variance(out, now, np.full(len(now), t), clip=True)
        std = {"learned": np.exp(0.5 * log_variance), "small": np.sqrt(chain.clipped[t]), "large": np.sqrt(chain.betas[t])}
        now = mean + (t > 1) * std[variance] * rng.normal(size=now.shape)
    assert x.std() == pytest.approx(np.clip(now, -1, 1).std(), rel=0.02)


def test_samples_start_from_the_noise_of_the_last_step() -> None:
    """Of standard normal numbers 32 % lie beyond black and white."""
    picture = make(NAME, timesteps=40).pictures["reverse"](state_of(), KEY)
    start = np.asarray(picture.images).reshape(8, picture.columns, -1)[:, 0]
    assert np.isin(start, (0.0, 1.0)).mean() == pytest.approx(0.317, abs=0.08)


def test_the_network_hears_the_times_of_the_whole_chain() -> None:
    """Of 3 steps of 9 those of 1, 5 and 9: DDIM's last prediction, whose sign the time decides."""
    experiment = make(NAME, timesteps=9, sampling_steps=3, sampler="ddim", guidance=1.0)
    given = jaxgen.given(4, experiment.given)
    x = [np.asarray(experiment.sample(state_of(of_time=-1e3, constant=c), KEY, given)) for c in (500.0, 1500.0)]
    np.testing.assert_allclose(x[0], 1.0, atol=1e-6)
    np.testing.assert_allclose(x[1], 0.0, atol=1e-6)


def test_samples_are_of_each_class_in_turn_or_of_those_given() -> None:
    experiment = make(NAME, sampler="ddim", guidance=1.0)
    assert experiment.given is not None
    draw = lambda given: np.asarray(experiment.sample(state_of(of_label=0.05), KEY, jaxgen.given(12, given)))
    by_default, fours = draw(experiment.given), draw(experiment.given.given({"label": [4]}))
    np.testing.assert_array_equal(by_default[4], fours[4])
    assert not (by_default == fours).all()


def bound_of(measured: list[Measured], batch: Batch, **numbers: float) -> Any:
    return jax.jit(measured[-1].measure)(state_of(**numbers), batch, KEY)


def test_the_bound_is_of_the_conditional_model_and_of_the_variance_that_is_chosen(measured: list[Measured]) -> None:
    """`calc_bpd_loop` of the transitions, with predictions that are clipped to 1."""
    x = np.random.default_rng(0).integers(246, 256, (2, 3, 2, 1)) / 127.5 - 1
    batch: Batch = {"image": jnp.asarray(x, jnp.float32), "slot": jnp.arange(2), "label": jnp.asarray([0, 9])}
    chain, v = improved.Chain(cosine_betas(40)), 0.4
    span = np.log(chain.betas[1:] / chain.clipped[1:])
    variances = {"learned": chain.clipped[1:] * np.exp((v + 1) / 2 * span), "small": chain.clipped[1:]}
    squared = ((x - 1) ** 2).mean((1, 2, 3))[:, None]
    for variance, value in variances.items():
        make(NAME, variance=variance, timesteps=40, sampling_steps=3, nll_samples=39, guidance=4.0)
        found = bound_of(measured, batch, constant=-1e6, v=v)
        ratio = chain.clipped[1:] / value
        kl = 0.5 * (ratio - 1 - np.log(ratio)) + chain.coefficient_x0[1:] ** 2 * squared / (2 * value)
        np.testing.assert_allclose(found["transitions"], kl[:, 1:].sum(1) / np.log(2), rtol=2e-3)
    told = bound_of(measured, {**batch, "image": jnp.full((2, 3, 2, 1), 0.3)}, of_label=0.1)["bits_per_dim"]
    assert len(set(np.asarray(told).tolist())) == 2
    values = [np.asarray(told)]
    make(NAME, variance="small", timesteps=40, sampling_steps=3, nll_samples=39, guidance=1.0)
    values.append(bound_of(measured, {**batch, "image": jnp.full((2, 3, 2, 1), 0.3)}, of_label=0.1)["bits_per_dim"])
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize(("samples", "values"), [(1, 3), (3, 1)])
def test_as_many_transitions_are_drawn_as_is_asked_for(samples: int, values: int, measured: list[Measured]) -> None:
    make(NAME, timesteps=4, nll_samples=samples)
    batch: Batch = {"image": jnp.full((100, 1, 1, 1), 0.9), "slot": jnp.arange(100), "label": jnp.full(100, 3)}
    found = np.asarray(bound_of(measured, batch, constant=-1e6)["transitions"])
    assert len(np.unique(found.round(4))) == values


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_lie_in_minus_1_to_1_and_training_images_alone_are_mirrored(flip: bool, measured: list[Measured]) -> None:
    experiment = make(NAME, flip=flip)
    image, scaled = jnp.asarray([[[0], [51], [255]]], jnp.uint8), [-1.0, -0.6, 1.0]
    batch: Batch = {"image": jnp.tile(image, (400, 1, 1, 1)), "slot": jnp.arange(400), "index": jnp.arange(400)}
    seen = np.asarray(experiment.train.transform(batch, KEY)["image"]).reshape(400, 3)
    mirrored = np.isclose(seen, scaled[::-1], atol=1e-6).all(1)
    assert (mirrored | np.isclose(seen, scaled, atol=1e-6).all(1)).all()
    assert mirrored.mean() == (pytest.approx(0.5, abs=0.1) if flip else 0)
    for _, _, transform in measured:
        found = transform({"image": image, "index": 3}, jax.random.key(3))["image"].ravel()
        np.testing.assert_allclose(found, scaled, atol=1e-6)


def test_the_training_split_trains_and_the_test_split_is_measured_and_shown(measured: list[Measured]) -> None:
    experiment = make(NAME, guidance=3.0)
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360, 360]
    shown = np.asarray(experiment.pictures["forward"](state_of(), KEY).images)
    test = data.load("digits", "test").gather(np.arange(8))["image"]
    np.testing.assert_allclose(shown.reshape(8, -1, 8, 8, 1)[:, 0], test / 255, atol=1e-6)
    drawn = experiment.pictures["samples"](state_of(), KEY).caption
    assert drawn.startswith("Samples, guidance 3, 4 ancestral steps;")
    role = experiment.networks["model"].role
    assert isinstance(role, diffusion.Trained)
    assert (role.parameterisation, role.pixels, role.conditions) == (diffusion.EPSILON, (-1.0, 1.0), ("label",))


def test_adam_sees_the_gradients_as_they_are_and_parameters_are_averaged() -> None:
    """train.py: AdamW without decay, no clipping and no warm-up."""
    experiment = make(NAME, learning_rate=1e-4, ema=0.9, accumulate=2)
    assert (experiment.ema, experiment.accumulate) == (0.9, 2)
    tx, params = experiment.players["model"].tx, {"w": jnp.full(2, 5e3)}
    moved, _ = tx.update({"w": jnp.asarray([3e2, -4e2], jnp.float32)}, tx.init(params), params)
    np.testing.assert_allclose(moved["w"], [-1e-4, 1e-4], rtol=1e-3)


def test_flags_that_do_not_go_together() -> None:
    with pytest.raises(jaxgen.UserError, match="more than --timesteps"):
        make(NAME, timesteps=5, sampling_steps=6)


def test_images_without_classes_are_refused() -> None:
    bare = data.from_arrays({"image": np.zeros((20, 8, 8, 1), np.uint8)}, name="bare")
    with pytest.raises(jaxgen.UserError, match="no classes"):
        make(NAME, dataset=(bare, bare))
