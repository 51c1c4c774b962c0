"""What `experiments.lenet` is wired to. Its network and its optimizers are this project's choice (the module says in what it is
not that of LeCun et al. 1998); smoothing is that of Szegedy et al. 2016, section 7, with dropout on the last features alone."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make

import jaxgen
from jaxgen import data
from jaxgen.types import Batch

TRAIN, TEST, CLASSES = 1437, 360, 10


def state_of(experiment: jaxgen.Experiment, bias: Any = None) -> jaxgen.TrainState:
    """The state; with a bias, logits that are the bias for every image."""
    params, vars = experiment.initial(jax.random.key(0))
    if bias is not None:
        params = jax.tree.map(jnp.zeros_like, params)
        params["model"]["out"]["bias"] = jnp.asarray(bias, jnp.float32)
    return jaxgen.create_state(jax.random.key(1), params, vars, experiment.players)


def loss(experiment: jaxgen.Experiment, state: Any, batch: Batch, *, train: bool, seed: int = 0) -> tuple[np.ndarray, Any]:
    values, aux = experiment.players["model"].loss(state.params, state, batch, jax.random.key(seed), train=train)
    return np.asarray(values), aux.metrics


@pytest.mark.parametrize("flags", [{}, {"shift": 2}, {"flip": True}, {"shift": 1, "flip": True}])
def test_images_are_moved_and_mirrored_in_training_alone(flags: Any, measured: list) -> None:
    experiment = make("lenet", **flags)
    image = np.zeros((8, 8, 1), np.uint8)
    image[4, 3] = 255
    n = 400
    batch: Batch = {"image": jnp.asarray(np.tile(image, (n, 1, 1, 1))), "slot": jnp.arange(n)}
    seen = np.asarray(experiment.train.transform(batch, jax.random.key(0))["image"])
    assert (seen.reshape(n, -1).max(1) == 1.0).all()
    rows, columns = np.unravel_index(seen.reshape(n, -1).argmax(1), (8, 8))
    by, mirrored = flags.get("shift", 0), flags.get("flip", False)
    assert set(rows) == set(range(4 - by, 5 + by))
    assert set(columns) == set(range(3 - by, 4 + by)) | (set(range(4 - by, 5 + by)) if mirrored else set())
    if flags == {"flip": True}:
        assert (columns == 4).mean() == pytest.approx(0.5, abs=0.08)
    ((source, _, transform),) = measured
    np.testing.assert_array_equal(transform({"image": jnp.asarray(image)}, jax.random.key(0))["image"], image / 255)
    assert (experiment.train.source.length, source.length) == (TRAIN, TEST)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_target_is_smoothed_in_training_and_the_likelihood_is_reported(smoothing: float) -> None:
    experiment = make("lenet", smoothing=smoothing, dropout=0.0)
    logits = np.linspace(-1, 2, CLASSES)
    log_p = logits - np.log(np.exp(logits).sum())
    label = np.array([0, 9, 4])
    batch: Batch = {"image": jnp.zeros((3, 8, 8, 1)), "label": jnp.asarray(label)}
    state = state_of(experiment, logits)
    trained, metrics = loss(experiment, state, batch, train=True)
    np.testing.assert_allclose(trained, -(1 - smoothing) * log_p[label] - smoothing * log_p.mean(), rtol=1e-5)
    np.testing.assert_allclose(loss(experiment, state, batch, train=False)[0], -log_p[label], rtol=1e-5)
    assert np.asarray(metrics["error"]).tolist() == [1.0, 0.0, 1.0]  # a share, not per cent


def test_features_are_dropped_in_training_alone_with_their_share_and_scale() -> None:
    """All features are 1 and the first class's logit is their sum: of 400, training keeps each with a chance of 0.75."""
    experiment = make("lenet", dropout=0.25, hidden=(400,))
    state = state_of(experiment, np.zeros(CLASSES))
    model = state.params["model"]
    (features,) = [name for name in model if name.startswith("denses")]
    model[features]["bias"] = jnp.ones(400)
    model["out"]["kernel"] = model["out"]["kernel"].at[:, 0].set(0.01)
    batch: Batch = {"image": jnp.zeros((50, 8, 8, 1)), "label": jnp.zeros(50, jnp.int32)}

    def logit(values: np.ndarray) -> np.ndarray:
        p = np.exp(-values.astype(np.float64))
        return np.log(9 * p / (1 - p))

    kept = logit(loss(experiment, state, batch, train=True)[0]) / 0.01 * 0.75
    np.testing.assert_allclose(kept, np.round(kept), atol=0.02)
    assert kept.mean() == pytest.approx(300, abs=6)
    assert kept.std() > 3
    np.testing.assert_allclose(logit(loss(experiment, state, batch, train=False)[0]), 4.0, rtol=1e-4)


@pytest.mark.parametrize(
    ("flags", "peak"),
    [
        ({}, 1e-3),
        ({"optimizer": "sgd"}, 0.05),
        ({"learning_rate": 0.3}, 0.3),
        ({"optimizer": "sgd", "learning_rate": 0.3}, 0.3),
    ],
)
@pytest.mark.parametrize("cosine", [True, False])
def test_the_rate_and_its_cosine_reach_the_optimizer(flags: Any, peak: float, cosine: bool) -> None:
    experiment = make("lenet", cosine=cosine, steps=6, **flags)
    tx, w = experiment.players["model"].tx, {"w": jnp.zeros(2)}
    opt, speed = tx.init(w), 0.0
    for step in range(6):
        rate = peak * (1 + math.cos(math.pi * step / 6)) / 2 if cosine else peak
        assert float(experiment.schedules["learning_rate"](step)) == pytest.approx(rate, rel=1e-5)
        updates, opt = tx.update({"w": jnp.ones(2)}, opt, w)
        # Of a constant gradient Adam's move is the rate; momentum sums what came before.
        speed = 0.9 * speed + 1
        move = rate * (speed if "optimizer" in flags else 1)
        np.testing.assert_allclose(-updates["w"], move, rtol=1e-4, atol=1e-9, err_msg=f"step {step}")


def test_the_averages_and_the_micro_batches_are_as_asked() -> None:
    experiment = make("lenet", ema=0.99, accumulate=2)
    assert (experiment.ema, experiment.accumulate) == (0.99, 2)


def test_the_picture_counts_mistakes_on_the_test_images() -> None:
    """A network that says "three" for each image errs where the label is another."""
    experiment = make("lenet")
    caption = experiment.pictures["confusions"](state_of(experiment, np.eye(CLASSES)[3]), jax.random.key(0)).caption
    wrong = int((data.load("digits", "test").gather(np.arange(TEST))["label"] != 3).sum())
    assert f"{wrong} of {TEST} taken for another class" in caption
