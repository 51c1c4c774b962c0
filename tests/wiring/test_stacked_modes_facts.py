"""What `experiments.stacked_modes` is wired to, held against the code of Lin et al. 2018 (github.com/fjxmlzn/PacGAN:
stacked_MNIST_experiments/VEEGAN_experiment, model.py and config.py)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring import readable
from wiring.readable import UNITS, Readable, defaults, moves, numbers, state_of, told

import experiments.stacked_modes
import jaxgen
from jaxgen import data
from jaxgen.metrics import classification_accuracy
from jaxgen.metrics.modes import of_classes
from jaxgen.runs.run import begin

NETWORKS = Readable()


def quiet(batches: Any, **_: Any) -> Any:
    return batches


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("stacked_modes", **{"channels": (1,), "latents": UNITS, **flags})


def state(experiment: jaxgen.Experiment) -> jaxgen.TrainState:
    """A readable generator, whose three channels show the same."""
    made = NETWORKS.made(mean=0.5, variance=4.0)
    path = "generator/ConvTranspose_0/kernel"
    return state_of(experiment, made | {path: made[path] * np.array([1.0, 0.5, 0.2])})


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"dataset": "digits", "packing": 1, "latents": 100, "batch_size": 64, "learning_rate": 2e-4}
    facts |= {"mode_samples": 26_000, "ema": None}
    assert {name: defaults(experiments.stacked_modes.experiment)[name] for name in facts} == facts
    assert experiments.stacked_modes.STACKS == 128_000


def test_stacks_of_training_digits_train_in_minus_1_to_1() -> None:
    experiment = plain(batch_size=30)
    assert experiment.train.batch_size == 30
    assert (experiment.train.source.length, experiment.train.source.shape("image")) == (128_000, (8, 8, 3))
    both = {"image": jnp.asarray([0, 255], jnp.uint8).reshape(2, 1, 1, 1), "slot": jnp.arange(2)}
    assert experiment.train.transform(both, jax.random.key(0))["image"].ravel().tolist() == [-1, 1]
    for split, seed in (("train", 0), ("test", 1)):
        stacks = experiment.splits[split]
        expected = data.stacked(data.load("digits", split), stacks.length, seed=seed)
        some = np.arange(20)
        np.testing.assert_array_equal(stacks.gather(some)["image"], expected.gather(some)["image"])


def test_the_generator_moves_twice_after_each_move_of_the_discriminator() -> None:
    players = plain().players
    assert [(name, player.every) for name, player in players.items()] == [("discriminator", 2), ("generator", 1)]
    for player in plain(learning_rate=0.25).players.values():
        # With beta1 of 0.5 the second move, of the opposite gradient, is a third of the rate.
        assert moves(player.tx, [3.0, -3.0]) == pytest.approx([-0.25, 0.25 / 3], rel=1e-3)


def test_samples_are_of_uniform_codes() -> None:
    experiment = plain()
    samples = experiment.sample(state(experiment), jax.random.key(3), jaxgen.given(300))
    z = 2 * numbers(samples) + 0.5
    assert samples.shape == (300, 8, 8, 3)
    assert -1.01 < z.min() < -0.98
    assert 0.98 < z.max() < 1.01
    assert z.std() == pytest.approx(1 / np.sqrt(3), abs=0.01)


def test_the_discriminator_judges_packs() -> None:
    """Non-saturating losses of logits that the examples of a pack share."""
    batch = {"image": jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (6, 8, 8, 3)), jnp.float32)}
    for packing in (1, 3):
        experiment = plain(packing=packing, batch_size=6)
        own = begin(experiment, 0)
        values, metrics = told(experiment, "discriminator", own, batch)
        real, fake = metrics["real_probability"], metrics["fake_probability"]
        np.testing.assert_allclose(values, -np.log(real) - np.log1p(-fake), rtol=1e-4)
        generated, _ = told(experiment, "generator", own, batch)
        assert {np.unique(found).size for found in (real, fake, generated)} == {6 // packing}


def test_modes_are_counted_of_the_classes_of_all_channels_of_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a classifier that calls an image by its upper left pixel."""
    asked: list[Any] = []

    def recogniser(train: data.Source, *, classes: int, recipe: Any, track: Any) -> Callable[[np.ndarray], np.ndarray]:
        asked.append((train.name, classes, recipe.steps))
        return lambda images: images[:, ::4, ::4, 0].sum((1, 2), dtype=np.int64) % classes

    monkeypatch.setattr(classification_accuracy, "recogniser", recogniser)
    monkeypatch.setattr(experiments.stacked_modes, "CHUNK", 40)
    experiment = plain(mode_samples=90, classifier_steps=7)
    own = state(experiment)
    found = experiment.final["test"](own, jax.random.key(5), quiet)
    drawn = np.asarray(experiment.sample(own, jax.random.key(5), jaxgen.given(90)))
    images = np.round(255 * drawn).astype(np.uint8)
    real = experiment.splits["test"].gather(np.arange(90))["image"]
    for name, stacks in (("", images), ("_of_data", real)):
        labels = stacks[:, ::4, ::4].sum((1, 2), dtype=np.int64) % 10
        assert (found[f"modes{name}"], found[f"reverse_kl{name}"]) == of_classes(labels, 10)
    assert asked == [(data.load("digits", "train").name, 10, 7)]
    assert set(found) == {"modes", "modes_of_data", "reverse_kl", "reverse_kl_of_data"}


def test_the_picture_of_channels_shows_each_digit_beside_its_stack() -> None:
    experiment = plain()
    own = state(experiment)
    images = np.asarray(experiment.pictures["channels"](own, jax.random.key(5)).images).reshape(32, 4, 8, 8, 3)
    np.testing.assert_array_equal(images[:, 0], experiment.sample(own, jax.random.key(5), jaxgen.given(32)))
    for i in range(3):
        np.testing.assert_array_equal(images[:, 1 + i], images[:, 0, ..., i : i + 1].repeat(3, axis=-1))
    assert list(experiment.pictures) == ["channels", "samples", "interpolations", "arithmetic"]


def test_flags_that_the_loop_is_given() -> None:
    experiment = plain(ema=0.5, steps=7)
    assert (experiment.ema, experiment.steps, experiment.best) == (0.5, 7, None)
    assert experiment.protocol == dict.fromkeys(("modes", "reverse_kl"), ("classifier_steps", "mode_samples"))
    assert {m.module.dtype for n, m in plain(bf16=True).networks.items() if n == "generator"} == {jnp.bfloat16}
    discriminator: Any = plain(bf16=True, packing=4).networks["discriminator"].module
    assert (discriminator.packing, discriminator.discriminator.dtype) == (4, jnp.bfloat16)


def test_the_diversity_of_samples_is_evaluated_and_watched() -> None:
    experiment = plain()
    readable.assert_watched(experiment, state(experiment))
