"""What `experiments.lenet` is wired to. Its network and its optimizers are this project's choice (the module says in what it is
not that of LeCun et al. 1998); smoothing is that of Szegedy et al. 2016, section 7, with dropout on the last features alone."""

import math
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make

import jaxgen
from jaxgen import data
from jaxgen.network import FrozenNetwork
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


def brightness(levels: Any, name: str, side: int = 8, channels: int = 1) -> data.Source:
    """Images of one colour each, of the classes x and y."""
    image = np.broadcast_to(np.asarray(levels, np.uint8)[:, None, None, None], (len(levels), side, side, channels))
    return data.from_arrays({"image": image, "label": np.arange(len(levels)) % 2}, name=name, classes=("x", "y"))


PAIR: Any = (brightness(range(9), "source"), brightness([0, 255, 0, 255], "of the source"))
OTHER: Any = (brightness([255, 255], "target"), brightness([255, 255, 0], "of the target", side=12))


class Negative(nn.Module):
    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return self.param("gain", nn.initializers.constant(-1.0), ()) * x


def by_brightness(experiment: jaxgen.Experiment) -> jaxgen.TrainState:
    """The state of a classifier that takes bright images for y: of one map and one feature."""
    params, vars = experiment.initial(jax.random.key(0))
    own = jax.tree.map(jnp.zeros_like, params["model"])
    own["convs_0"]["kernel"] = own["convs_0"]["kernel"].at[2, 2].set(1)
    own["denses_0"]["kernel"] = jnp.full_like(own["denses_0"]["kernel"], 1 / 16)
    own["out"] = {"kernel": jnp.array([[0.0, 1.0]]), "bias": jnp.array([0.5, 0.0])}
    return jaxgen.TrainState(jnp.int32(0), jax.random.key(1), {**params, "model": own}, {}, vars, {})


def quiet(batches: Any, **_: Any) -> Any:
    return batches


def test_errors_are_counted_in_another_domain_too() -> None:
    experiment = make("lenet", dataset=PAIR, target=OTHER, side=8, subset=5, channels=(1,), hidden=(1,))
    assert {name: source.length for name, source in experiment.splits.items()} == {"train": 5, "test": 4, "test/target": 3}
    assert experiment.splits["test/target"].shape("image") == (8, 8, 1)
    assert experiment.train.source.length == 5
    state = by_brightness(experiment)
    found = {split: evaluate(state, jax.random.key(0), quiet)["error"] for split, evaluate in experiment.evaluators.items()}
    assert found == pytest.approx({"test": 0.0, "test/target": 1 / 3})
    told = {name: picture(state, jax.random.key(0)).caption[:40] for name, picture in experiment.pictures.items()}
    assert told["confusions"].startswith("Held-out images, 0 of 4")
    assert told["confusions_target"].startswith("Images of the other domain, 1 of 3")
    assert list(make("lenet").evaluators) == ["test"]
    assert list(make("lenet").pictures) == ["confusions"]


def test_with_a_translator_it_learns_and_is_tested_on_translations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of negatives it errs wherever it was right; the other domain is not translated."""
    asked = []
    whence = ("0" * 64, "runs/t", Path("runs/t"), "a_to_b", "last", 1, Path("runs/t"))
    part = FrozenNetwork(Negative(), {"gain": np.float32(-1)}, {}, *whence, None, (jnp.zeros((1, 8, 8, 1)),))
    monkeypatch.setattr(jaxgen, "frozen", lambda run, network="model": asked.append((run, network)) or part)
    flags: Any = {"dataset": PAIR, "target": OTHER, "side": 8, "channels": (1,), "hidden": (1,)}
    experiment = make("lenet", translator="runs/t", dropout=0.0, **flags)
    assert asked == [("runs/t", "a_to_b")]
    assert set(experiment.frozen) == {"translator"}
    assert experiment.networks["model"].role == "translator"
    assert make("lenet").networks["model"].role is None
    state = by_brightness(experiment)
    found = {split: evaluate(state, jax.random.key(0), quiet)["error"] for split, evaluate in experiment.evaluators.items()}
    assert found == pytest.approx({"test": 1.0, "test/target": 1 / 3})
    batch: Batch = {"image": jnp.full((2, 8, 8, 1), 0.1), "label": jnp.array([0, 1])}
    values, _ = loss(experiment, state, batch, train=True)
    np.testing.assert_allclose(values, np.log(np.exp(0.5) + np.exp(0.9)) - np.array([0.5, 0.9]), rtol=1e-4)
    told = {name: picture(state, jax.random.key(0)).caption[:40] for name, picture in experiment.pictures.items()}
    assert set(told) == {"confusions", "confusions_target", "translations"}
    assert told["confusions"].startswith("Held-out images, 4 of 4")
    with pytest.raises(
        jaxgen.UserError, match="--translator runs/t translates images of 8x8x1, and those of --dataset are 12x12x1"
    ):
        make("lenet", translator="runs/t", **{**flags, "side": 12})


def test_flags_of_the_network() -> None:
    module = make("lenet", side=16, valid=True, map_dropout=0.25, dropout=0.1).networks["model"].module
    assert (module.padding, module.map_dropout, module.dropout) == ("VALID", 0.25, 0.1)
    assert make("lenet").networks["model"].module.padding == "SAME"
    with pytest.raises(
        jaxgen.UserError, match="With --valid 2 convolutions want images of 13 pixels a side or more, and those"
    ):
        make("lenet", valid=True)
    colour = brightness([1, 2, 3], "colour", channels=3)
    experiment = make("lenet", dataset=PAIR, target=(colour, colour))
    assert {source.shape("image") for source in experiment.splits.values()} == {(8, 8, 3)}
    other = brightness([1, 2, 3], "other")._replace(classes={"label": ("x", "z")})
    with pytest.raises(jaxgen.UserError, match="A label means different things"):
        make("lenet", dataset=PAIR, target=(other, other))
