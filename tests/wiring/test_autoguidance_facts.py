"""What `experiments.autoguidance` is wired to, held against Karras et al. 2024 and the authors' code (github.com/NVlabs/edm2:
generate_images.py), and the training of EDM (github.com/NVlabs/edm: training/loss.py).

Affine networks stand in for both U-Nets: with an answer of 0 a denoiser is that of Gaussian data, and a constant c moves its
data by c sigma s_d / S."""

import inspect
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.affine import Affine, recording, state_of
from wiring.conftest import Measured

import experiments.autoguidance as module
import jaxgen
from jaxgen import diffusion, keys
from jaxgen.errors import UserError
from jaxgen.network import FrozenNetwork
from jaxgen.types import Batch

NAME, KEY = "autoguidance", jax.random.key(3)
EDM = diffusion.Trained(diffusion.time_is_sigma(), diffusion.edm(0.5), (-1.0, 1.0))


def strong(role: Any = EDM, side: int = 8) -> FrozenNetwork:
    """An EDM that answers 0, as a frozen part."""
    params = jax.tree.map(np.asarray, state_of().params["model"])
    whence = ("0" * 64, "runs/edm", Path("runs/edm"), "model", "last", 1, Path("runs/edm"))
    inputs = (jnp.zeros((1, side, side, 1)), jnp.zeros(1))
    return FrozenNetwork(Affine((4, 8), 0, ()), params, {}, *whence, role, inputs)


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> list[Affine]:
    made: list[Affine] = []
    monkeypatch.setattr(jaxgen, "frozen", lambda model: strong())
    monkeypatch.setattr(module, "UNet", recording(made))
    return made


def state(of_strong: dict[str, float] | None = None, **numbers: float) -> jaxgen.TrainState:
    own = state_of(**numbers)
    return own._replace(params={**own.params, "strong": state_of(**(of_strong or {})).params["model"]})


def test_the_defaults() -> None:
    written = {name: p.default for name, p in inspect.signature(module.experiment).parameters.items()}
    facts: dict[str, Any] = {"model": "runs/edm", "log_mean": -1.2, "log_std": 1.2, "smallest": 0.002, "largest": 80.0}
    facts |= {"rho": 7.0, "sampler": "heun", "sampling_steps": 18, "guidance": 2.0, "interval": None, "dropout": 0.13}
    assert {name: written[name] for name in facts} == facts
    edm = {name: p.default for name, p in inspect.signature(experiment_of_edm()).parameters.items()}
    assert np.prod(written["channels"]) < np.prod(edm["channels"])
    assert written["steps"] < edm["steps"], "the guiding model is smaller, and trained for a shorter time"


def experiment_of_edm() -> Any:
    import experiments.edm

    return experiments.edm.experiment


@pytest.mark.slow
@pytest.mark.slow  # to compile
def test_the_flags_of_the_weak_network_reach_it(networks: list[Affine]) -> None:
    flags = {"channels": (8, 4), "blocks": 3, "attention": (2, 4), "dropout": 0.3, "remat": True}
    experiment = make(NAME, **flags, bf16=True)
    (one,) = networks
    assert {name: getattr(one, name) for name in flags} == flags
    assert one.dtype == jnp.bfloat16
    assert experiment.networks["model"].module is one
    assert experiment.networks["model"].role == EDM
    assert experiment.frozen["strong"].given == "runs/edm"
    assert experiment.initial(KEY)[0].keys() == {"model", "strong"}


def batch_of(n: int) -> Batch:
    return {"image": jnp.full((n, 2, 2, 1), 0.4), "slot": jnp.arange(n, dtype=jnp.int32)}


def expected(constant: float, n: int, mean: float, std: float) -> np.ndarray:
    """EDMLoss of a network that answers a constant, in a mean over pixels."""
    own = keys.per_example(KEY, batch_of(n))
    sigma = np.exp(mean + std * np.asarray(keys.draw(jax.random.normal, keys.fold_in(own, 0), (n,)), np.float64))
    eps = np.asarray(keys.draw(jax.random.normal, keys.fold_in(own, 1), (n, 2, 2, 1)), np.float64)
    sigma = sigma.reshape(-1, 1, 1, 1)
    size = np.sqrt(sigma**2 + 0.25)
    denoised = 0.25 / size**2 * (0.4 + sigma * eps) + sigma * 0.5 / size * constant
    weight = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
    return (weight * (denoised - 0.4) ** 2).mean((1, 2, 3))


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "std"), [(-1.2, 1.2), (0.3, 0.5)])
def test_both_losses_are_those_of_edm_at_the_same_noise(mean: float, std: float, measured: list[Measured]) -> None:
    experiment = make(NAME, log_mean=mean, log_std=std)
    at, batch = state({"constant": -0.2}, constant=0.3), batch_of(50)
    values, _ = experiment.players["model"].loss(at.params, at, batch, KEY, train=True)
    np.testing.assert_allclose(values, expected(0.3, 50, mean, std), rtol=2e-3, atol=1e-4)
    found = measured[-1].measure(at, batch, KEY)
    assert found.keys() == {"strong_loss"}
    np.testing.assert_allclose(found["strong_loss"], expected(-0.2, 50, mean, std), rtol=2e-3, atol=1e-4)


def test_dropout_of_neither_is_on_where_nothing_is_trained(measured: list[Measured]) -> None:
    experiment = make(NAME)
    found = [measured[-1].measure(state({"in_training": b}), batch_of(5), KEY)["strong_loss"] for b in (0.0, 9.0)]
    np.testing.assert_array_equal(*found)
    kinds = (state(), state({"in_training": 9.0}, in_training=9.0))
    samples = [np.asarray(experiment.sample(one, KEY, jaxgen.given(3))) for one in kinds]
    np.testing.assert_array_equal(*samples)


def heun(constant: float, x: np.ndarray, **how: Any) -> np.ndarray:
    """Heun's method of the authors, where the answer is a constant at all levels, or 0 outside of an interval."""
    n, low, high, rho = how.get("steps", 18), how.get("smallest", 0.002), how.get("largest", 80.0), how.get("rho", 7.0)
    s = (high ** (1 / rho) + np.arange(n) / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    inside = how.get("interval", (0.0, np.inf))

    def slope(x: np.ndarray, sigma: float) -> np.ndarray:
        size = np.sqrt(sigma**2 + 0.25)
        own = constant if inside[0] <= sigma <= inside[1] else how.get("outside", 0.0)
        return (x - 0.25 / size**2 * x - sigma * 0.5 / size * own) / sigma

    for i, (a, b) in enumerate(zip(s, [*s[1:], 0.0], strict=True)):
        d = slope(x, a)
        x, before = x + (b - a) * d, x
        if i < n - 1:
            x = before + (b - a) * (d + slope(x, b)) / 2
    return x


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        ({"guidance": 0.0}, -0.1),
        ({"guidance": 1.0}, 0.2),
        ({"guidance": 2.0}, 0.5),
        ({"guidance": 2.0, "interval": (0.3, 4.0)}, 0.5),
        ({"guidance": 2.0, "smallest": 0.01, "largest": 20.0, "rho": 3.0, "sampling_steps": 9}, 0.5),
        ({"guidance": 2.0, "smallest": 0.01, "largest": 20.0, "rho": 2.0, "sampling_steps": 5}, 0.5),
    ],
    ids=str,
)
def test_samples_are_guided_away_from_the_weak_model(flags: dict[str, Any], answer: float) -> None:
    """Where the weak model answers -0.1 and the strong one 0.2, guidance w answers -0.1 + 0.3 w."""
    flags = {"sampling_steps": 18, **flags}
    experiment = make(NAME, **flags)
    found = np.asarray(experiment.sample(state({"constant": 0.2}, constant=-0.1), KEY, jaxgen.given(500)), np.float64)
    z = np.random.default_rng(0).normal(size=100_000)
    named = {"steps": flags["sampling_steps"], "outside": 0.2}
    named |= {name: flags[name] for name in ("smallest", "largest", "rho", "interval") if name in flags}
    x = heun(answer, flags.get("largest", 80.0) * z, **named)
    expected = (np.clip(x, -1, 1) + 1) / 2
    assert found.mean() == pytest.approx(expected.mean(), abs=0.006)
    assert found.std() == pytest.approx(expected.std(), rel=0.03)


def test_other_solvers_take_the_guided_model() -> None:
    means = []
    for sampler in ("heun", "ddim"):
        experiment = make(NAME, guidance=2.0, sampler=sampler, sampling_steps=60)
        means.append(np.asarray(experiment.sample(state({"constant": 0.2}, constant=-0.1), KEY, jaxgen.given(300))).mean())
    assert means[0] == pytest.approx(means[1], abs=0.02)
    assert means[0] > 0.6


def test_the_picture_shows_the_weak_the_strong_and_the_guided_model() -> None:
    experiment = make(NAME, guidance=3.0, sampling_steps=18)
    picture = experiment.pictures["compared"](state({"constant": 0.2}, constant=-0.1), KEY)
    assert picture.columns == 16
    found = np.asarray(picture.images, np.float64).reshape(3, 16, -1).mean((1, 2))
    z = np.random.default_rng(0).normal(size=100_000)
    expected = [(np.clip(heun(a, 80 * z), -1, 1).mean() + 1) / 2 for a in (-0.1, 0.2, 0.8)]
    np.testing.assert_allclose(found, expected, atol=0.04)


def test_the_test_split_is_measured_and_shown(measured: list[Measured]) -> None:
    experiment = make(NAME, ema=0.9, accumulate=2)
    assert experiment.train.source.length == 1437
    assert [source.length for source, _, _ in measured] == [360, 360]
    assert (experiment.ema, experiment.accumulate) == (0.9, 2)
    assert set(experiment.sampling) == {
        *("guidance", "interval", "largest", "rho", "sampler", "sampling_steps", "smallest"),
    }


@pytest.mark.parametrize("flip", [False, True])
def test_training_images_alone_are_mirrored(flip: bool, measured: list[Measured]) -> None:
    experiment = make(NAME, flip=flip)
    image = jnp.asarray([[[0], [51], [255]]], jnp.uint8)
    batch: Batch = {"image": jnp.tile(image, (400, 1, 1, 1)), "slot": jnp.arange(400), "index": jnp.arange(400)}
    seen = np.asarray(experiment.train.transform(batch, KEY)["image"]).reshape(400, 3)
    mirrored = np.isclose(seen, [1.0, -0.6, -1.0], atol=1e-6).all(1)
    assert mirrored.mean() == (pytest.approx(0.5, abs=0.1) if flip else 0)
    for _, _, transform in measured:
        found = transform({"image": image, "index": 3}, KEY)["image"].ravel()
        np.testing.assert_allclose(found, [-1.0, -0.6, 1.0], atol=1e-6)


def test_the_rate_rises_and_the_gradient_is_clipped() -> None:
    experiment = make(NAME, warmup=10, learning_rate=0.1)
    rate = experiment.schedules["learning_rate"]
    assert [float(rate(jnp.int32(step))) for step in (0, 5, 10, 100)] == pytest.approx([0.0, 0.05, 0.1, 0.1], abs=0.011)
    tx = make(NAME, clip=1.0).players["model"].tx
    params = {"a": jnp.zeros(2)}
    moments = tx.update({"a": jnp.array([30.0, 40.0])}, tx.init(params), params)[1]
    first = next(leaf for leaf in jax.tree.leaves(moments) if leaf.shape == (2,))
    np.testing.assert_allclose(first, [0.06, 0.08], rtol=1e-5)


@pytest.mark.parametrize(
    ("role", "side", "told"),
    [
        (
            EDM._replace(schedule=diffusion.linear_path()),
            8,
            "is no denoiser of noise of any size; give a run of experiments.edm",
        ),
        (EDM._replace(conditions=("label",)), 8, "was trained with a condition \\(label\\)"),
        (EDM, 7, "The images of --dataset are 8x8x1, and those of --model 7x7x1; give the set"),
    ],
    ids=["path", "condition", "size"],
)
def test_another_network_is_refused(role: Any, side: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxgen, "frozen", lambda model: strong(role, side))
    with pytest.raises(UserError, match=told):
        make(NAME)


def test_noise_that_does_not_descend_is_refused() -> None:
    with pytest.raises(UserError, match="give a smaller one"):
        make(NAME, smallest=3.0, largest=3.0)
    with pytest.raises(UserError, match=r"--interval 3 3 has no noise in it"):
        make(NAME, interval=(3.0, 3.0))
