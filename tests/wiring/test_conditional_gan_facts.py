"""What `experiments.conditional_gan` is wired to, held against Mirza & Osindero 2014, equation 2 and section 4.1, and, for its
convolutional networks and their optimizer, against Radford et al. 2015 and the authors' code of the conditional DCGAN
(github.com/Newmu/dcgan_code: mnist/train_cond_dcgan.py). What differs from these is said in the experiment's docstring."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring import readable
from wiring.readable import UNITS, Readable, defaults, first_pixel, images, moves, numbers, shapes, state_of, told

import experiments.conditional_gan
import jaxgen
from jaxgen.types import Batch

CLASSES, CODES = 10, UNITS - 1
NETWORKS = Readable(
    generator="generator/generator",
    discriminator="discriminator/discriminator",
    statistics="generator/batch_stats/generator",
    inputs=CODES + 50,
    maps=1 + CLASSES,
)
# The first 15 numbers are of the code, and the last one is the label's.
MADE = NETWORKS.made() | {"generator/Embed_0/embedding": np.outer(np.arange(CLASSES) / 2, np.eye(50)[0])}
JUDGED = NETWORKS.judged(label=0.2)


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("conditional_gan", **{"channels": (1,), "latents": CODES, **flags})


def labelled(n: int) -> Batch:
    return {**images(n), "label": jnp.arange(n) * 7 % CLASSES}


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"network": "conv", "latents": 100, "batch_size": 128, "learning_rate": 2e-4}
    facts |= {"ema": None, "bf16": False}
    assert {name: defaults(experiments.conditional_gan.experiment)[name] for name in facts} == facts


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_pixels_are_in_the_range_of_tanh_in_training_and_in_evaluation(network: str, measured: list) -> None:
    """The range of both networks' tanh; the paper's last layer is a sigmoid, of pixels in [0, 1]."""
    experiment = plain(network=network)
    readable.assert_pixels_of_tanh(experiment, *measured, label=jnp.arange(2))


def test_the_training_split_trains_and_the_test_split_is_measured(measured: list) -> None:
    experiment = plain(batch_size=30)
    assert experiment.train.batch_size == 30
    readable.assert_splits(experiment, *measured, "image", "label")


def test_samples_are_of_each_class_in_turn_and_of_normal_codes_by_the_running_statistics() -> None:
    """The i-th sample is of class i modulo their number, as `Experiment.given` says; the codes are N(0, I)."""
    experiment = plain()
    assert experiment.given is not None
    assert experiment.given.examples.length == CLASSES
    made = MADE | NETWORKS.made(mean=0.5, variance=4.0)
    samples = experiment.sample(state_of(experiment, made), jax.random.key(3), jaxgen.given(304, experiment.given))
    assert samples.shape == (304, 8, 8, 1)
    np.testing.assert_array_equal(samples[:, 1::2], 0.5)
    found = 2 * numbers(samples) + 0.5
    np.testing.assert_allclose(2 * found[:, -1], np.arange(304) % CLASSES, atol=1e-3)
    readable.assert_normal(found[:, :-1])


def test_both_players_are_told_the_label_of_each_image(measured: list) -> None:
    """Equation 2: D(x | y) and G(z | y). The logit is the first pixel and a fifth of the label."""
    experiment = plain()
    # The first pixel of a sample is its label, and no number of its code.
    last = np.zeros((CODES + 50, UNITS))
    last[CODES, 0] = 1
    state, batch = state_of(experiment, MADE | JUDGED | {"generator/generator/Dense_0/kernel": last}), labelled(20)
    label = np.asarray(batch["label"], np.float64)
    real, fake = first_pixel(batch) + 0.2 * label, np.tanh(0.7 + 0.1 * label / 2) + 0.2 * label
    values, metrics = told(experiment, "discriminator", state, batch)
    np.testing.assert_allclose(values, np.logaddexp(0, -real) + np.logaddexp(0, fake), rtol=1e-4)
    np.testing.assert_allclose(told(experiment, "generator", state, batch)[0], np.logaddexp(0, -fake), rtol=1e-4)
    np.testing.assert_allclose(metrics["real_probability"], 1 / (1 + np.exp(-real)), rtol=1e-4)
    np.testing.assert_allclose(metrics["fake_probability"], 1 / (1 + np.exp(-fake)), rtol=1e-4)
    found = jax.jit(measured[0].measure)(state, batch, jax.random.key(2))
    assert set(found) == {"discriminator_loss", "real_probability", "fake_probability"}
    np.testing.assert_allclose(found["discriminator_loss"], values, rtol=1e-4)
    assert (experiment.best, experiment.protocol, experiment.final) == (None, {}, {})


def test_both_players_train_and_are_evaluated_on_codes_of_that_law(measured: list) -> None:
    experiment = plain()
    state = state_of(experiment, MADE | NETWORKS.made(mean=0.5, variance=4.0) | NETWORKS.judged())
    readable.assert_codes_of_both_players(experiment, *measured, state, labelled(3000))


def test_the_discriminator_moves_first_and_both_move_once_a_step() -> None:
    players = plain().players
    assert [(name, player.every) for name, player in players.items()] == [("discriminator", 1), ("generator", 1)]


def test_the_learning_rate_is_that_of_both_players() -> None:
    for player in plain(learning_rate=0.25).players.values():
        assert moves(player.tx, [3.0]) == pytest.approx([-0.25], rel=1e-4)


def test_the_convolutional_networks() -> None:
    """The DCGAN's: the label is a channel for each class, and a vector of 50 beside z."""
    found = shapes(plain(channels=(3, 5), latents=4))
    assert found["discriminator/discriminator/down0/kernel"] == (4, 4, 1 + CLASSES, 3)
    assert found["discriminator/discriminator/down1/kernel"] == (4, 4, 3, 5)
    assert found["generator/Embed_0/embedding"] == (CLASSES, 50)
    assert found["generator/generator/Dense_0/kernel"] == (54, 2 * 2 * 5)
    assert found["generator/generator/ConvTranspose_0/kernel"] == (4, 4, 5, 3)
    assert "discriminator/discriminator/norm1/BatchNorm_0/scale" in found


def test_the_dense_networks() -> None:
    """Rectifiers against maxout units of five pieces, of half the width, as section 4.1 has 1,200 and 240."""
    found = shapes(plain(network="mlp", hidden=(7, 6), latents=4))
    assert found["generator/generator/Dense_0/kernel"] == (54, 7)
    assert found["generator/generator/Dense_1/kernel"] == (7, 6)
    assert found["generator/generator/Dense_2/kernel"] == (6, 64)
    assert found["discriminator/discriminator/Maxout_0/Dense_0/kernel"] == (64 + CLASSES, 4 * 5)
    assert found["discriminator/discriminator/Maxout_1/Dense_0/kernel"] == (4, 3 * 5)


def test_the_dense_generator_ends_in_tanh_and_its_samples_are_in_0_1() -> None:
    experiment = plain(network="mlp", hidden=())
    state = state_of(experiment, {"generator/generator/Dense_0/bias": np.linspace(-2, 2, 64)})
    expected = (np.tanh(np.linspace(-2, 2, 64)) + 1) / 2
    np.testing.assert_allclose(
        experiment.sample(state, jax.random.key(0), jaxgen.given(1, experiment.given)).ravel(), expected, rtol=1e-5
    )


def test_dropout_of_the_dense_discriminator_is_of_its_units_in_training_alone() -> None:
    """No pixels are dropped and 0.3 of the units; the paper has 0.5, and of both networks."""
    experiment = plain(network="mlp", hidden=(40,))
    units = "discriminator/discriminator"
    state = state_of(experiment, {f"{units}/Maxout_0/Dense_0/bias": 1.0, f"{units}/Dense_0/kernel": 0.05})
    batch = labelled(400)
    evaluated = told(experiment, "discriminator", state, batch)[1]["real_probability"]
    np.testing.assert_allclose(evaluated, 1 / (1 + np.exp(-1)), rtol=1e-5)
    trained = told(experiment, "discriminator", state, batch, train=True)[1]["real_probability"].astype(np.float64)
    kept = np.log(trained / (1 - trained)) / 0.05 * 0.7
    np.testing.assert_allclose(kept, np.round(kept), atol=0.01)
    assert kept.mean() == pytest.approx(0.7 * 20, rel=0.03)
    # A single unit is kept whatever the pixels, if none of these is dropped.
    pixels = {f"{units}/Maxout_0/Dense_0/kernel": 0.01, f"{units}/Dense_0/kernel": 1.0}
    bare = plain(network="mlp", hidden=(1,))
    white: Batch = {**batch, "image": jnp.ones((400, 8, 8, 1))}
    seen = told(bare, "discriminator", state_of(bare, pixels), white, train=True)[1]["real_probability"].astype(np.float64)
    np.testing.assert_allclose(np.unique(np.round(np.log(seen / (1 - seen)), 3)), [0, np.round(0.65 / 0.7, 3)], atol=2e-3)


def test_the_pictures_show_each_label_in_a_row() -> None:
    experiment = plain()
    state = state_of(experiment, MADE)
    assert list(experiment.pictures) == ["labels", "interpolations"]
    grid = experiment.pictures["labels"](state, jax.random.key(5))
    assert (len(grid.images), grid.columns) == (160, 16)
    found = numbers(grid.images)
    np.testing.assert_allclose(2 * found[:, -1], np.repeat(np.arange(10), 16), atol=1e-3)
    np.testing.assert_allclose(found[:, :-1], np.tile(found[:16, :-1], (10, 1)), atol=1e-3)
    lines = experiment.pictures["interpolations"](state, jax.random.key(5))
    assert (len(lines.images), lines.columns) == (128, 16)
    found = numbers(lines.images)
    np.testing.assert_allclose(2 * found[:, -1], np.repeat(np.arange(8), 16), atol=1e-3)
    rows = found[:, :-1].reshape(8, 16, CODES)
    share = np.linspace(0, 1, 16)[:, None]
    np.testing.assert_allclose(rows, (1 - share) * rows[:, :1] + share * rows[:, -1:], atol=1e-2)


def test_flags_that_the_loop_is_given() -> None:
    experiment = plain(ema=0.5, steps=7)
    assert (experiment.ema, experiment.accumulate, experiment.steps) == (0.5, 1, 7)


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_half_precision_reaches_both_players(network: str) -> None:
    whole, half = (plain(bf16=bf16, network=network, hidden=(7,)) for bf16 in (False, True))
    rng = np.random.default_rng(0)
    spread = {name: rng.normal(size=shape) / 4 for name, shape in shapes(whole).items() if not name.endswith("/var")}
    state, batch = state_of(whole, spread), labelled(4)
    judged = [told(experiment, "discriminator", state, batch)[1]["real_probability"] for experiment in (whole, half)]
    assert 1e-5 < np.abs(judged[0] - judged[1]).max() < 0.1
    made = [experiment.sample(state, jax.random.key(0), jaxgen.given(20, experiment.given)) for experiment in (whole, half)]
    assert 1e-5 < np.abs(made[0] - made[1]).max() < 0.1


def test_the_diversity_of_samples_is_evaluated_and_watched(measured: list) -> None:
    experiment = plain()
    readable.assert_watched(experiment, state_of(experiment, MADE))
