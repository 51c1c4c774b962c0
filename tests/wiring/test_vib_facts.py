"""What `experiments.vib` is wired to, held against Alemi et al. 2017 (equation 17, section 4.1) and the authors' notebooks
(github.com/alexalemi/vib_demo: MNISTVIB.ipynb; the JAX notebook has 12 samples of the code in training, too)."""

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make

import experiments.vib
import jaxgen
from jaxgen.objectives.bottleneck import Prediction
from jaxgen.types import Batch

TRAIN, TEST, CLASSES = 1437, 360, 10


def state_of(experiment: jaxgen.Experiment) -> jaxgen.TrainState:
    params, vars = experiment.initial(jax.random.key(0))
    return jaxgen.create_state(jax.random.key(1), params, vars, experiment.players)


def test_the_defaults_are_the_notebooks() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.vib.experiment).parameters.items()}
    facts: dict[str, Any] = {"latents": 256, "hidden": (1024, 1024), "beta": 1e-3, "batch_size": 100, "samples": 12}
    facts |= {"train_samples": 12, "learning_rate": 2e-4, "decay": 0.95, "ema": 0.999, "covariance": "diagonal"}
    assert {name: written[name] for name in facts} == facts
    assert make("vib").ema == 0.999


def test_pixels_are_in_minus_1_to_1_in_training_and_in_evaluation(measured: list) -> None:
    experiment = make("vib")
    bytes_ = jnp.asarray([0, 255], jnp.uint8).reshape(2, 1, 1, 1)
    batch: Batch = {"image": bytes_, "slot": jnp.arange(2)}
    assert experiment.train.transform(batch, jax.random.key(0))["image"].ravel().tolist() == [-1.0, 1.0]
    ((source, _, transform),) = measured
    assert transform({"image": bytes_[:, 0]}, jax.random.key(0))["image"].ravel().tolist() == [-1.0, 1.0]
    assert (experiment.train.source.length, source.length) == (TRAIN, TEST)


@pytest.mark.parametrize("batch_size", [TRAIN, 719])
def test_the_rate_that_moves_is_multiplied_after_every_second_epoch(batch_size: int) -> None:
    experiment = make("vib", batch_size=batch_size, learning_rate=0.1, decay=0.5)
    tx, w = experiment.players["model"].tx, {"w": jnp.zeros(2)}
    every, opt = round(2 * TRAIN / batch_size), tx.init(w)
    for step in range(3 * every):
        # Of a constant gradient Adam's move is the rate.
        updates, opt = tx.update({"w": jnp.ones(2)}, opt, w)
        np.testing.assert_allclose(-updates["w"], 0.1 * 0.5 ** (step // every), rtol=1e-4, err_msg=f"step {step}")


def test_training_has_its_samples_and_evaluation_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, dict[str, Any]] = {}
    for name in ("bottleneck", "bottleneck_prediction"):
        whole = getattr(experiments.vib.objectives, name)

        def spied(*args: Any, name: str = name, whole: Any = whole, **options: Any) -> Any:
            asked[name] = options
            return whole(*args, **options)

        monkeypatch.setattr(experiments.vib.objectives, name, spied)
    experiment = make("vib", samples=5, train_samples=3, beta=0.25)
    experiment.evaluators["test"](state_of(experiment), jax.random.key(0), lambda items, **_: items)
    assert asked == {"bottleneck": {"beta": 0.25, "samples": 3}, "bottleneck_prediction": {"samples": 5}}


def test_the_figures_of_given_samples(measured: list, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample is sure of the right class, the other of none: the mean of probabilities is right, that of logarithms wrong"""
    p = np.full((2, 3, CLASSES), 1e-9)
    p[0, 0, :2], p[1, 0, :3] = (0.98, 0.02), (1e-4, 0.6, 0.4)
    p[:, 1, 4] = 1.0
    p[0, 2, 7] = p[1, 2, 3] = 1.0
    p /= p.sum(-1, keepdims=True)
    rate = jnp.array([1.0, 2.0, 4.0])
    told = Prediction(rate, jnp.log(jnp.asarray(p, jnp.float32)))
    experiment = make("vib", beta=0.5)
    monkeypatch.setattr(experiments.vib.objectives, "bottleneck_prediction", lambda *args, **options: (told, {}))
    ((_, measure, _),) = measured
    label = np.array([0, 4, 9])
    batch: Batch = {"image": jnp.zeros((3, 8, 8, 1)), "label": jnp.asarray(label), "slot": jnp.arange(3)}
    found = {name: np.asarray(v) for name, v in measure(state_of(experiment), batch, jax.random.key(0)).items()}
    log_p = np.log(p[:, np.arange(3), label])
    assert found["error"].tolist() == [0.0, 0.0, 100.0]
    assert found["error_one_sample"].tolist() == [50.0, 0.0, 100.0]
    np.testing.assert_allclose(found["cross_entropy"], -log_p.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["loss"], -log_p.mean(0) + 0.5 * np.asarray(rate), rtol=1e-5)
    np.testing.assert_allclose(found["rate"], rate)
    np.testing.assert_allclose(found["rate_bits"], np.asarray(rate) / math.log(2), rtol=1e-6)
    np.testing.assert_allclose(found["label_bits"], math.log2(CLASSES) + log_p.mean(0) / math.log(2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_the_loss_of_a_code_that_tells_nothing(train: bool) -> None:
    """Weights of zero: the posterior is N(m, softplus(rho - 5)^2) for each image, and no class is likelier than another."""
    experiment = make("vib", beta=0.25, latents=3)
    state = state_of(experiment)
    model = jax.tree.map(jnp.zeros_like, state.params["model"])
    model["posterior"]["moments"]["bias"] = jnp.array([0.7, 0.7, 0.7, 5.0, 5.0, 5.0])
    batch: Batch = {"image": jnp.ones((4, 8, 8, 1)), "label": jnp.array([0, 3, 9, 9])}
    values, aux = experiment.players["model"].loss({"model": model}, state, batch, jax.random.key(0), train=train)
    std = math.log(2)
    rate = 3 * ((0.7**2 + std**2 - 1) / 2 - math.log(std))
    np.testing.assert_allclose(aux.metrics["rate"], np.full(4, rate), rtol=1e-5)
    np.testing.assert_allclose(values, math.log(10) + 0.25 * rate, rtol=1e-5)


def test_the_best_step_is_that_of_the_fewest_errors_of_the_mean_prediction() -> None:
    experiment = make("vib")
    assert experiment.best == "test/error"
    assert set(experiment.protocol) == {"error", "error_one_sample", "rate_bits"}
    assert experiment.protocol["error"] == ("samples",)


def test_layers_are_rectified() -> None:
    """A feature of relu(1 or -1), which is the code's mean."""
    experiment = make("vib", hidden=(2,), latents=2)
    state = state_of(experiment)
    model = jax.tree.map(jnp.zeros_like, state.params["model"])
    model["encoder"]["Dense_0"]["bias"] = jnp.array([2.0, -2.0])
    model["posterior"]["moments"]["kernel"] = jnp.eye(2, 4)
    model["posterior"]["moments"]["bias"] = jnp.array([0.0, 0.0, 5 + math.log(math.e - 1), 5 + math.log(math.e - 1)])
    batch: Batch = {"image": jnp.ones((1, 8, 8, 1)), "label": jnp.array([0])}
    _, aux = experiment.players["model"].loss({"model": model}, state, batch, jax.random.key(0), train=True)
    # The widths are 1, so the rate is half the square of the mean (2, 0).
    np.testing.assert_allclose(aux.metrics["rate"], [2.0], rtol=1e-4)
