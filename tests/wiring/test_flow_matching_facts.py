"""What `experiments.flow_matching` is wired to, held against Lipman et al. 2023 (equations 20 to 23), Liu et al. 2023
(equation 1) and Esser et al. 2024 (equations 19 and 23). Their time runs from noise to data, and this package's the other way.

An affine network stands in for the U-Net."""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.affine import Affine, Loss, recording, state_of
from wiring.conftest import Measured

import experiments.flow_matching
import jaxgen
from jaxgen import data, nn
from jaxgen.types import Batch

KEY = jax.random.key(2)
NAME = "flow_matching"
BLACK = np.zeros((4000, 1, 1, 1))


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> list[Affine]:
    """The networks that a test's experiments make."""
    made: list[Affine] = []
    monkeypatch.setattr(experiments.flow_matching, "UNet", recording(made))
    return made


@functools.cache
def loss_of(**flags: Any) -> Loss:
    return Loss(make(NAME, **flags))


def test_the_defaults_are_the_papers() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.flow_matching.experiment).parameters.items()}
    facts: dict[str, Any] = {"law": "uniform", "sampler": "euler", "sampling_steps": 50, "shift": 1.0, "dropout": 0.1}
    assert {name: written[name] for name in facts} == facts


def test_the_flags_of_the_network_reach_it_and_it_hears_a_thousand_times_the_time(networks: list[Affine]) -> None:
    flags = {"channels": (8, 4), "blocks": 3, "attention": (2, 4), "dropout": 0.3, "remat": True}
    make(NAME, **flags, bf16=True)
    (one,) = networks
    assert {name: getattr(one, name) for name in flags} == flags
    assert one.dtype == jnp.bfloat16
    assert isinstance(one.time, nn.Sinusoidal)
    assert (one.time.features, one.time.scale) == (8, 1000.0)


@pytest.mark.parametrize("law", ["uniform", "logit_normal"])
def test_the_loss_is_the_papers_on_the_path_of_the_law(law: Any) -> None:
    """Where x_0 = 0, x_t = t eps and the velocity is eps: the answer -x_t errs by (1 + t)^2 eps^2."""
    loss = loss_of() if law == "uniform" else loss_of(law=law)
    nothing, one, minus = loss(BLACK), loss(BLACK, constant=1.0), loss(BLACK, of_x=-1.0)
    eps, t = (1 + nothing - one) / 2, np.sqrt(minus / nothing) - 1
    sure = np.abs(eps) > 0.05
    value = t[sure] if law == "uniform" else np.log(t / (1 - t))[sure]
    mean, std = (0.5, np.sqrt(1 / 12)) if law == "uniform" else (0.0, 1.0)
    assert value.mean() == pytest.approx(mean, abs=0.05)
    assert value.std() == pytest.approx(std, abs=0.05)
    assert eps.std() == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(loss(BLACK, of_time=1000.0)[sure], ((1000 * t - eps) ** 2)[sure], rtol=0.02, atol=3.0)
    for x in (0.7, -2.0):
        xt = (1 - t) * x + t * eps
        expected = (0.3 + 0.2 * xt - (eps - x)) ** 2
        np.testing.assert_allclose(loss(BLACK + x, constant=0.3, of_x=0.2)[sure], expected[sure], rtol=0.01, atol=0.01)
    assert loss(np.zeros((50, 8, 8, 1))).mean() == pytest.approx(1, abs=0.05), "a mean over pixels"


def shifted(n: int, shift: float) -> np.ndarray:
    t = np.linspace(1, 0, n + 1)
    return shift * t / (1 + (shift - 1) * t)


@pytest.mark.parametrize(("sampler", "shift"), [("euler", 1.0), ("euler", 3.0), ("heun", 1.0), ("heun", 0.5)])
def test_samples_are_the_solvers_solution(sampler: Any, shift: float) -> None:
    """Where the velocity is 0.8 x: each step is a factor."""
    experiment = make(NAME, sampler=sampler, sampling_steps=5, shift=shift)
    x = np.asarray(experiment.sample(state_of(of_x=0.8), KEY, jaxgen.given(3000)), np.float64) * 2 - 1
    h = 0.8 * np.diff(shifted(5, shift))
    factor = np.prod(1 + h if sampler == "euler" else 1 + h + h**2 / 2)
    expected = np.clip(factor * np.random.default_rng(0).normal(size=200_000), -1, 1)
    assert x.std() == pytest.approx(expected.std(), rel=0.005)


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver_pp", "unipc"])
def test_other_solvers_have_the_same_solution(sampler: Any) -> None:
    experiment = make(NAME, sampler=sampler, sampling_steps=200)
    x = np.asarray(experiment.sample(state_of(of_x=0.8), KEY, jaxgen.given(1000)), np.float64) * 2 - 1
    expected = np.clip(np.exp(-0.8) * np.random.default_rng(0).normal(size=200_000), -1, 1)
    assert x.std() == pytest.approx(expected.std(), rel=0.02)


def test_ancestral_samples_begin_where_nothing_is_left_of_the_data() -> None:
    """Where the velocity is x_t the data are (1 - t) x_t: by the posterior of the chain through 1, 3/4, 1/2, 1/4, in numpy."""
    experiment = make(NAME, sampler="ancestral", sampling_steps=4)
    x = np.asarray(experiment.sample(state_of(of_x=1.0), KEY, jaxgen.given(3000)), np.float64) * 2 - 1
    variance = 1.0
    for t in (1.0, 0.75, 0.5, 0.25):
        s = t - 0.25
        ratio = (1 - t) / (1 - s)
        beta = t**2 - (ratio * s) ** 2
        factor = ratio * s**2 / t**2 + (1 - s) * beta / t**2 * (1 - t)
        variance = factor**2 * variance + (beta * s**2 / t**2)
    expected = np.clip(np.sqrt(variance) * np.random.default_rng(0).normal(size=200_000), -1, 1)
    assert x.std() == pytest.approx(expected.std(), rel=0.02)


def test_dropout_is_for_training_alone(measured: list[Measured]) -> None:
    experiment = make(NAME)
    assert loss_of()(BLACK, in_training=10.0).mean() > 50
    batch: Batch = {"image": jnp.zeros((200, 1, 1, 1)), "slot": jnp.arange(200)}
    found = jax.jit(measured[0].measure)(state_of(in_training=10.0), batch, KEY)
    np.testing.assert_allclose(found["loss"].mean(), 1, atol=0.3)
    samples = [np.asarray(experiment.sample(state_of(in_training=t), KEY, jaxgen.given(4))) for t in (0.0, 10.0)]
    np.testing.assert_array_equal(*samples)


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_lie_in_minus_1_to_1_and_training_images_alone_are_mirrored(flip: bool, measured: list[Measured]) -> None:
    experiment = make(NAME, flip=flip)
    image = jnp.asarray([[[0], [51], [255]]], jnp.uint8)
    scaled = [-1.0, -0.6, 1.0]
    batch: Batch = {"image": jnp.tile(image, (400, 1, 1, 1)), "slot": jnp.arange(400), "index": jnp.arange(400)}
    seen = np.asarray(experiment.train.transform(batch, KEY)["image"]).reshape(400, 3)
    mirrored = np.isclose(seen, scaled[::-1], atol=1e-6).all(1)
    assert (mirrored | np.isclose(seen, scaled, atol=1e-6).all(1)).all()
    assert mirrored.mean() == (pytest.approx(0.5, abs=0.1) if flip else 0)
    for _, _, transform in measured:
        found = transform({"image": image, "index": 3}, jax.random.key(3))["image"].ravel()
        np.testing.assert_allclose(found, scaled, atol=1e-6)


def test_the_training_split_trains_and_the_test_split_is_measured_and_shown(measured: list[Measured]) -> None:
    experiment = make(NAME)
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360]
    shown = np.asarray(experiment.pictures["forward"](state_of(), KEY).images)
    test = data.load("digits", "test").gather(np.arange(8))["image"]
    np.testing.assert_allclose(shown.reshape(8, -1, 8, 8, 1)[:, 0], test / 255, atol=1e-6)
