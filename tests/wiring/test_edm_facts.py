"""What `experiments.edm` is wired to, held against Karras et al. 2022 (table 1, algorithm 2) and the authors' code
(github.com/NVlabs/edm: training/loss.py, EDMLoss; training/networks.py, EDMPrecond; generate.py, edm_sampler).

An affine network stands in for the U-Net. With the answer 0 the denoiser is that of Gaussian data: sampling is a recursion."""

import functools
import inspect
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.affine import Affine, Loss, recording, state_of
from wiring.conftest import Measured

import experiments.edm
import jaxgen
from jaxgen import data
from jaxgen.types import Batch

KEY = jax.random.key(2)
BLACK = np.zeros((4000, 1, 1, 1))
"""Images of one pixel, whose noise can be told; their pixels are already those of the model."""


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> list[Affine]:
    """The networks that a test's experiments make."""
    made: list[Affine] = []
    monkeypatch.setattr(experiments.edm, "UNet", recording(made))
    return made


@functools.cache
def loss_of(**flags: Any) -> Loss:
    return Loss(make("edm", **flags))


def test_the_defaults_are_the_papers() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.edm.experiment).parameters.items()}
    facts: dict[str, Any] = {"data_std": 0.5, "log_mean": -1.2, "log_std": 1.2, "smallest": 0.002, "largest": 80.0, "rho": 7.0}
    facts |= {"sampler": "heun", "sampling_steps": 18, "churn": 0.0, "churn_range": (0.05, 50.0), "churn_noise": 1.003}
    facts |= {"dropout": 0.13, "learning_rate": 1e-3, "augment": 0.0, "flip": False}
    assert {name: written[name] for name in facts} == facts


def test_the_flags_of_the_network_reach_it(networks: list[Affine]) -> None:
    flags = {"channels": (8, 4), "blocks": 3, "attention": (2, 4), "dropout": 0.3, "remat": True}
    make("edm", **flags, bf16=True)
    (one,) = networks
    assert {name: getattr(one, name) for name in flags} == flags
    assert one.dtype == jnp.bfloat16
    assert one.time is None, "sines and cosines, as in the authors' DDPM++"


def drawn(loss: Loss, std: float) -> tuple[np.ndarray, np.ndarray]:
    """The noise of each example and its sigma: at x_0 = 0 the target is -std eps / S, and the input sigma eps / S."""
    nothing, one, same = loss(BLACK), loss(BLACK, constant=1.0), loss(BLACK, of_x=1.0)
    target = (1 + nothing - one) / 2
    sigma = std * (np.sqrt(same / nothing) - 1)
    return -target * np.hypot(sigma, std) / std, sigma


@pytest.mark.parametrize("std", [0.5, 0.8])
def test_the_loss_is_the_authors(std: float) -> None:
    """EDMLoss with EDMPrecond, in numpy, where the network answers 0.3 - 0.2 of its input + 0.5 of its time."""
    loss = loss_of(data_std=std)
    eps, sigma = drawn(loss, std)
    sure = np.abs(eps) > 0.05  # to tell sigma by
    assert np.log(sigma[sure]).mean() == pytest.approx(-1.2, abs=0.06)
    assert np.log(sigma[sure]).std() == pytest.approx(1.2, abs=0.06)
    assert eps.std() == pytest.approx(1, abs=0.05)
    for y in (0.0, 0.7):
        noisy = y + sigma * eps
        skip, out = std**2 / (sigma**2 + std**2), sigma * std / np.sqrt(sigma**2 + std**2)
        answer = 0.3 - 0.2 * noisy / np.sqrt(sigma**2 + std**2) + 0.5 * np.log(sigma) / 4
        weight = (sigma**2 + std**2) / (sigma * std) ** 2
        expected = weight * (skip * noisy + out * answer - y) ** 2
        found = loss(BLACK + y, constant=0.3, of_x=-0.2, of_time=0.5)
        np.testing.assert_allclose(found[sure], expected[sure], rtol=0.02, atol=0.01)
    assert loss(np.random.default_rng(0).normal(size=(400, 8, 8, 1)) * std).mean() == pytest.approx(1, abs=0.05), "a mean"


def heun(n: int, rho: float, low: float, high: float, churn: float = 0.0) -> float:
    """The deviation of the samples where D = x s_d^2 / (s_d^2 + sigma^2): algorithm 2 of variances, in numpy."""
    t = (high ** (1 / rho) + np.arange(n) / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    t, variance = np.append(t, 0.0), high**2
    for now, after in itertools.pairwise(t):
        gamma = min(churn / n, np.sqrt(2) - 1) if 0.05 <= now <= 50 else 0.0
        raised = now * (1 + gamma)
        variance += 1.003**2 * (raised**2 - now**2)
        rate = lambda s: s / (0.25 + s**2)
        euler = 1 + (after - raised) * rate(raised)
        factor = euler if after == 0 else 1 + (after - raised) / 2 * (rate(raised) + euler * rate(after))
        variance *= factor**2
    return float(np.sqrt(variance))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"sampling_steps": 9}, 0.5 * 1.27814),
        ({"sampling_steps": 18}, 0.5 * 1.05527),
        ({"sampling_steps": 9, "rho": 3.0}, heun(9, 3.0, 0.002, 80.0)),
        ({"sampling_steps": 9, "smallest": 0.1, "largest": 20.0}, heun(9, 7.0, 0.1, 20.0)),
        ({"sampling_steps": 18, "churn": 6.0}, heun(18, 7.0, 0.002, 80.0, churn=6.0)),
    ],
)
def test_samples_have_the_spread_of_the_papers_algorithm(flags: dict[str, Any], expected: float) -> None:
    experiment = make("edm", **flags)
    x = np.asarray(experiment.sample(state_of(), KEY, jaxgen.given(3000)), np.float64) * 2 - 1
    normal = np.random.default_rng(0).normal(size=200_000)
    assert x.std() == pytest.approx(np.clip(expected * normal, -1, 1).std(), rel=0.005)


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver_pp", "unipc", "ancestral"])
def test_other_samplers_draw_from_the_same_law(sampler: Any) -> None:
    experiment = make("edm", sampler=sampler, sampling_steps=150)
    x = np.asarray(experiment.sample(state_of(), KEY, jaxgen.given(1000)), np.float64) * 2 - 1
    normal = np.random.default_rng(0).normal(size=200_000)
    assert x.std() == pytest.approx(np.clip(0.5 * normal, -1, 1).std(), rel=0.05)


def test_dropout_is_for_training_alone(measured: list[Measured]) -> None:
    experiment = make("edm")
    assert loss_of()(BLACK, in_training=10.0).mean() > 50
    batch: Batch = {"image": jnp.zeros((200, 1, 1, 1)), "slot": jnp.arange(200)}
    found = jax.jit(measured[0].measure)(state_of(in_training=10.0), batch, KEY)
    assert found["loss"].mean() < 5
    samples = [np.asarray(experiment.sample(state_of(in_training=t), KEY, jaxgen.given(4))) for t in (0.0, 10.0)]
    np.testing.assert_array_equal(*samples)


def test_augmented_images_train_with_their_label_and_others_are_measured_and_drawn_without(measured: list[Measured]) -> None:
    """Karras et al. 2022, appendix F.2: the network gets the label, which is zero for images as they are."""
    experiment = make("edm", augment=0.5)
    image = jnp.asarray([[[0], [51], [255]]], jnp.uint8)
    batch: Batch = {"image": jnp.tile(image, (400, 1, 1, 1)), "slot": jnp.arange(400), "index": jnp.arange(400)}
    seen = experiment.train.transform(batch, KEY)
    apart = data.apply_transform(data.chain(data.scale(-1, 1), data.augment_edm(0.5)), batch, KEY, jnp.arange(400))
    np.testing.assert_array_equal(seen["augment"], apart["augment"])
    np.testing.assert_allclose(seen["image"], apart["image"], atol=1e-6)
    assert (np.asarray(seen["augment"]) != 0).any(1).mean() > 0.9
    ((_, measure, transform),) = measured
    found = transform({"image": image, "index": 3}, KEY)
    np.testing.assert_allclose(found["image"].ravel(), [-1.0, -0.6, 1.0], atol=1e-6)
    np.testing.assert_array_equal(found["augment"], np.zeros(9))

    label = jnp.zeros((400, 9)).at[:, 4].set(jnp.linspace(0, 1, 400))
    given: Batch = {"image": jnp.zeros((400, 1, 1, 1)), "augment": label, "slot": jnp.arange(400)}
    loss = functools.partial(jax.jit(experiment.players["model"].loss, static_argnames="train"), train=True)
    values = [np.asarray(loss((state := state_of(**n)).params, state, given, KEY)[0]) for n in ({}, {"of_augment": 10.0})]
    assert values[0][0] == values[1][0]
    assert abs(values[1] / values[0] - 1)[200:].min() > 1e-3
    with pytest.raises(KeyError, match="augment"):
        measure(state_of(), {"image": jnp.zeros((4, 1, 1, 1))}, KEY)
    samples = [experiment.sample(state_of(of_augment=n), KEY, jaxgen.given(4)) for n in (0.0, 10.0)]
    np.testing.assert_array_equal(*samples)
    initial = experiment.networks["model"].inputs
    assert [None if x is None else x.shape for x in initial] == [(1, 8, 8, 1), (1,), None, None, None, (1, 9)]


@pytest.mark.parametrize("flip", [False, True])
def test_pixels_lie_in_minus_1_to_1_and_training_images_alone_are_mirrored(flip: bool, measured: list[Measured]) -> None:
    experiment = make("edm", flip=flip)
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
    experiment = make("edm")
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360]
    shown = np.asarray(experiment.pictures["forward"](state_of(), KEY).images)
    test = data.load("digits", "test").gather(np.arange(8))["image"]
    np.testing.assert_allclose(shown.reshape(8, -1, 8, 8, 1)[:, 0], test / 255, atol=1e-6)


def test_the_gradient_is_clipped_and_parameters_are_averaged() -> None:
    experiment = make("edm", learning_rate=0.1, clip=1e-3, ema=0.9, warmup=2)
    assert experiment.ema == 0.9
    tx = experiment.players["model"].tx
    params = {"x": jnp.zeros(2)}
    first, state = tx.update({"x": jnp.array([300.0, 400.0])}, tx.init(params), params)
    second, _ = tx.update({"x": jnp.array([3e-4, 4e-4])}, state, params)
    assert float(jnp.abs(first["x"]).max()) == 0, "the warm-up begins at zero"
    # Of gradients of one norm, 1e-3 and 5e-4 after clipping, and not of 500 and 5e-4: Adam's moments tell.
    np.testing.assert_allclose(second["x"], -0.05, rtol=0.1)
