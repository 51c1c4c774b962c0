"""What `experiments.adda` is wired to, held against Tzeng et al. 2017 and the code of Hoffman et al. 2018
(github.com/jhoffman/cycada_release: scripts/train_adda.py, cycada/tools/train_adda_net.py, cycada/models/adda_net.py).

Classifiers whose first score is the brightness of an image, in [0, 1], and a discriminator whose logit is 0.5 less."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.conftest import Measured
from wiring.readable import defaults, moves, shapes, told

import experiments.adda as module
import jaxgen
from jaxgen import data
from jaxgen.errors import UserError
from jaxgen.models.cnn import LeNet
from jaxgen.network import FrozenNetwork

NAMES = ("x", "y", "z")


class Bright(nn.Module):
    """A translator whose pixels are all the same, in [-1, 1]."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return 0 * x + self.param("level", nn.initializers.constant(0.8), ())


def of_brightness(gain: float = 1.0, bias: float = 0.0) -> dict[str, Any]:
    """The parameters of a LeNet of one map and one feature, the brightness of an image."""
    kernel = np.zeros((5, 5, 1, 1), np.float32)
    kernel[2, 2] = 1
    return {
        "convs_0": {"kernel": kernel, "bias": np.zeros(1, np.float32)},
        "denses_0": {"kernel": np.full((16, 1), 1 / 16, np.float32), "bias": np.zeros(1, np.float32)},
        "out": {
            "kernel": np.array([[gain, 0.0, 0.0]], np.float32),
            "bias": np.array([0.0, bias, -9.0], np.float32),
        },
    }


def parent(network: Any = None, params: Any = None, side: int = 8, role: Any = None, names: Any = NAMES) -> FrozenNetwork:
    network = network or LeNet(3, (1,), (1,))
    whence = ("0" * 64, "runs/lenet", Path("runs/lenet"), "model", "last", 1, Path("runs/lenet"))
    inputs, classes = (jnp.zeros((1, side, side, 1)),), {"label": names}
    return FrozenNetwork(network, params or of_brightness(bias=0.5), {}, *whence, role, inputs, classes)


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxgen, "frozen", lambda run, network="model": parent())


def grey(levels: Any, name: str, side: int = 8, names: Any = NAMES) -> data.Source:
    levels = np.asarray(levels, np.uint8)
    image = np.broadcast_to(levels[:, None, None, None], (len(levels), side, side, 1))
    return data.from_arrays({"image": image, "label": np.arange(len(levels)) % 3}, name=name, classes=names)


def domains(**of: Any) -> dict[str, Any]:
    return {
        "dataset": (grey(range(12), "a train", **of), grey([0, 51, 102, 255], "a test", **of)),
        "target": (grey(range(9), "b train", **of), grey([255, 153, 0], "b test", **of)),
    }


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("adda", **{**domains(), **flags})


def state_of(experiment: jaxgen.Experiment, **params: Any) -> jaxgen.TrainState:
    """The state at the beginning, with a discriminator of the first score less 0.5, and other parameters by name."""
    own, vars = experiment.initial(jax.random.key(0))
    judge = jax.tree.map(jnp.zeros_like, own["discriminator"])
    judge["Dense_0"]["kernel"] = judge["Dense_0"]["kernel"].at[0, 0].set(1)
    judge["Dense_1"]["kernel"] = judge["Dense_1"]["kernel"].at[0, 0].set(1)
    judge["Dense_1"]["bias"] = jnp.array([-0.5])
    return jaxgen.TrainState(jnp.int32(0), jax.random.key(1), {**own, "discriminator": judge, **params}, {}, vars, {})


def batch_of(source: Any, target: Any) -> Any:
    image = {"source": source, "target": target}
    return {
        d: {"image": jnp.broadcast_to(jnp.asarray(x, jnp.float32)[:, None, None, None], (len(x), 8, 8, 1))}
        for d, x in image.items()
    }


def test_the_defaults() -> None:
    facts: dict[str, Any] = {
        "classifier": "runs/source_only",
        "hidden": (500, 500),
        "threshold": 0.6,
        "batch_size": 128,
        "subset": None,
    }
    assert {name: defaults(module.experiment)[name] for name in facts} == facts


def test_the_discriminator_moves_first_and_the_classifier_where_it_is_told_apart() -> None:
    players = plain(threshold=0.7).players
    assert list(players) == ["discriminator", "model"]
    assert [player.every for player in players.values()] == [1, 1]
    assert players["discriminator"].when is None
    assert players["discriminator"].ema == ()
    state = state_of(plain())
    for accuracy, goes in ((0.69, False), (0.7, False), (0.71, True)):
        metrics = {"discriminator/accuracy": jnp.float32(accuracy), "discriminator/loss": jnp.float32(9.0)}
        assert bool(players["model"].when(state, metrics)) == goes


def test_the_losses_of_both_players() -> None:
    """Logits are the brightness less 0.5, of the source by the frozen classifier and of the target by the other one."""
    experiment = plain()
    state = state_of(experiment, model=of_brightness(gain=0.5))
    batch = batch_of([0.9, 0.2], [0.4, 1.0])
    on_source, on_target = np.array([0.4, -0.3]), np.array([-0.3, 0.0])
    values, metrics = told(experiment, "discriminator", state, batch)
    np.testing.assert_allclose(values, (np.logaddexp(0, -on_source) + np.logaddexp(0, on_target)) / 2, rtol=1e-4)
    np.testing.assert_allclose(metrics["accuracy"], [1.0, 0.5])
    values, _ = told(experiment, "model", state, batch)
    np.testing.assert_allclose(values, np.logaddexp(0, -on_target), rtol=1e-4)


def test_both_classifiers_drop_features_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one feature is there with twice its value, or not at all."""
    network = LeNet(3, (1,), (1,), dropout=0.5)
    monkeypatch.setattr(jaxgen, "frozen", lambda run, name="model": parent(network))
    experiment = plain()
    state, n = state_of(experiment), 64
    _, metrics = told(experiment, "discriminator", state, batch_of([0.4] * n, [0.3] * n), train=True)
    for name, kept in (("real_probability", 0.3), ("fake_probability", 0.1)):
        p = metrics[name].astype(np.float64)
        logit = np.log(p / (1 - p))
        assert set(np.round(logit, 4)) == {-0.5, kept}
    _, metrics = told(experiment, "discriminator", state, batch_of([0.4], [0.3]))
    assert metrics["real_probability"] == pytest.approx(1 / (1 + np.exp(0.1)), rel=1e-4)


def test_training_begins_with_the_classifier_of_the_source_and_leaves_that_alone() -> None:
    experiment = plain()
    params, vars = experiment.initial(jax.random.key(0))
    assert set(params) == {"source", "model", "discriminator"}
    assert not vars
    assert jax.tree.all(jax.tree.map(np.array_equal, params["source"], params["model"]))
    assert jax.tree.all(jax.tree.map(np.array_equal, params["model"], of_brightness(bias=0.5)))
    assert set(experiment.frozen) == {"source"}
    assert set(experiment.networks) == {"model", "discriminator"}
    found = shapes(plain(hidden=(7, 6)))
    sides = {name: shape for name, shape in found.items() if name.startswith("discriminator") and name.endswith("kernel")}
    assert sorted(sides.values()) == [(3, 7), (6, 1), (7, 6)]


def test_the_units_of_the_discriminator_are_rectified() -> None:
    experiment = plain()
    module, params = experiment.networks["discriminator"].module, state_of(experiment).params["discriminator"]
    scores = jnp.array([[2.0, 0, 0], [-2.0, 0, 0]])
    np.testing.assert_allclose(module.apply({"params": params}, scores), [1.5, -0.5])


def test_pixels_are_in_0_1_and_each_split_has_its_images(measured: list[Measured]) -> None:
    experiment = plain()
    lengths = {name: source.length for name, source in experiment.splits.items()}
    assert lengths == {"train/source": 12, "train/target": 9, "test/source": 4, "test/target": 3}
    assert [one.source.name for one in measured] == [experiment.splits[f"test/{d}"].name for d in ("source", "target")]
    raw = jnp.asarray([[0, 255]], jnp.uint8).reshape(1, 2, 1)
    for one in measured:
        assert one.transform({"image": raw, "index": 0}, jax.random.key(0))["image"].ravel().tolist() == [0, 1]
    for domain, stream in experiment.train.streams.items():
        assert stream.source.length == lengths[f"train/{domain}"]
        batch = {"image": jnp.full((2, 8, 8, 1), 255, jnp.uint8), "slot": jnp.arange(2)}
        assert float(stream.transform(batch, jax.random.key(0))["image"].min()) == 1
    few = plain(subset=(5, 4))
    assert [few.splits[f"train/{d}"].length for d in ("source", "target")] == [5, 4]
    assert {stream.batch_size for stream in plain(batch_size=3).train.streams.values()} == {3}


def quiet(batches: Any, **_: Any) -> Any:
    return batches


def test_both_classifiers_are_measured_in_both_domains() -> None:
    """Bright images are x and dark ones y: 0.5 divides them for the one, and 0.9 for the other."""
    experiment = plain()
    state = state_of(experiment, model=of_brightness(bias=0.9))
    # Labels are x, y, z, x of 0, 0.2, 0.4 and 1 in the source, and x, y, z of 1, 0.6 and 0 in the target.
    expected = {"source": (0.5, 0.5), "target": (1 / 3, 2 / 3)}
    for domain, (after, before) in expected.items():
        found = experiment.evaluators[f"test/{domain}"](state, jax.random.key(0), quiet)
        assert found["error"] == pytest.approx(after)
        assert found["error_before"] == pytest.approx(before)
        n = experiment.splits[f"test/{domain}"].length
        assert found["error_stderr"] == pytest.approx(np.sqrt(after * (1 - after) / (n - 1)), rel=1e-5)
    assert experiment.best is None
    assert experiment.protocol == {"error": (), "error_before": ()}
    assert not experiment.final


def test_a_classifier_of_translations_is_adapted_on_translations(monkeypatch: pytest.MonkeyPatch) -> None:
    """All translations have the brightness 0.9; images of the target are not translated."""
    asked = []

    def frozen(run: str, network: str = "model") -> FrozenNetwork:
        asked.append((run, network))
        return parent(role="translator") if network == "model" else parent(Bright(), {"level": np.float32(0.8)})

    monkeypatch.setattr(jaxgen, "frozen", frozen)
    experiment = plain(classifier="runs/translated")
    assert asked == [("runs/translated", "model"), ("runs/translated", "translator")]
    assert set(experiment.frozen) == {"source", "translator"}
    state = state_of(experiment)
    _, metrics = told(experiment, "discriminator", state, batch_of([0.1, 0.7], [0.1, 0.7]))
    np.testing.assert_allclose(metrics["real_probability"], 1 / (1 + np.exp(-0.4)), rtol=1e-4)
    np.testing.assert_allclose(metrics["fake_probability"], 1 / (1 + np.exp([0.4, -0.2])), rtol=1e-4)
    found = {d: experiment.evaluators[f"test/{d}"](state, jax.random.key(0), quiet)["error"] for d in ("source", "target")}
    assert found == pytest.approx({"source": 0.5, "target": 2 / 3})  # all of the source are x, as two of four are
    assert "translations" in experiment.pictures


def test_the_pictures_are_of_the_target_after_and_before() -> None:
    experiment = plain()
    state = state_of(experiment, model=of_brightness(bias=0.9))
    told = {name: picture(state, jax.random.key(0)).caption for name, picture in experiment.pictures.items()}
    assert set(told) == {"confusions", "confusions_before"}
    assert told["confusions"].startswith("Images of the target after the adaptation, 1 of 3 taken for another class.")
    assert told["confusions_before"].startswith("Images of the target before the adaptation, 2 of 3 taken for another class.")


def test_both_optimizers_are_adams_of_one_rate() -> None:
    experiment = plain(learning_rate=0.5, steps=7, accumulate=2)
    for player in experiment.players.values():
        # Adam's first move is its rate; with beta1 of 0.9 the second, of the opposite gradient, is 0.1 / 1.9 of it.
        assert moves(player.tx, [3.0, -3.0]) == pytest.approx([-0.5, 0.5 * 0.1 / 1.9], rel=1e-3)
    assert (experiment.steps, experiment.accumulate, experiment.ema) == (7, 2, None)


def test_images_are_brought_to_the_side_of_the_classifier() -> None:
    experiment = plain(**domains(side=12))
    assert {source.shape("image") for source in experiment.splits.values()} == {(8, 8, 1)}


@pytest.mark.parametrize(
    ("part", "of", "mend"),
    [
        ({"network": Bright()}, {}, "--classifier .* is no classifier of scores; give a run of experiments.lenet"),
        ({"names": ("x", "y", "w")}, {}, "The classes of --dataset are others than those of --classifier; give the set"),
        ({}, {"names": ("x", "y", "w")}, "The classes of --dataset are others than those of --classifier"),
    ],
)
def test_what_it_refuses(part: Any, of: Any, mend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxgen, "frozen", lambda run, network="model": parent(**part))
    with pytest.raises(UserError, match=mend):
        plain(**domains(**of))


def test_images_of_another_shape_are_refused() -> None:
    image = np.zeros((4, 8, 8, 3), np.uint8)
    colour = data.from_arrays({"image": image, "label": np.arange(4) % 3}, name="colour", classes=NAMES)
    with pytest.raises(UserError, match="The images are 8x8x3 here, and those of --classifier 8x8x1; give its sets"):
        plain(target=(colour, colour))
