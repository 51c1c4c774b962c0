"""What `experiments.wgan` is wired to, held against Arjovsky et al. 2017, algorithm 1, and the authors' code
(github.com/martinarjovsky/WassersteinGAN: main.py), and against Gulrajani et al. 2017, algorithm 1, and the authors' code
(github.com/igul222/improved_wgan_training: gan_mnist.py). `tests/game/test_optimizers.py` holds the optimizers' rules."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring import readable
from wiring.readable import UNITS, Readable, defaults, first_pixel, images, moves, numbers, shapes, state_of, told, unit

import experiments.wgan
import jaxgen

NETWORKS = Readable(discriminator="critic")
STILL = NETWORKS.made() | {"generator/Dense_0/kernel": 0.0}
"""A generator whose first pixel is tanh(0.7), whatever the code."""


def plain(**flags: Any) -> jaxgen.Experiment:
    return make("wgan", **{"channels": (1,), "latents": UNITS, **flags})


def test_the_defaults() -> None:
    facts: dict[str, Any] = {"penalty": "gp", "latents": 100, "critic_steps": 5, "weight": 10.0, "limit": 0.01}
    facts |= {"batch_size": 64, "learning_rate": None, "ema": 0.99, "bf16": False}
    assert {name: defaults(experiments.wgan.experiment)[name] for name in facts} == facts


def test_pixels_are_in_the_range_of_tanh_in_training_and_in_evaluation(measured: list) -> None:
    experiment = plain()
    readable.assert_pixels_of_tanh(experiment, *measured)


def test_the_training_split_trains_and_the_test_split_is_measured(measured: list) -> None:
    experiment = plain(batch_size=30)
    assert experiment.train.batch_size == 30
    readable.assert_splits(experiment, *measured, "image")


def test_samples_are_in_0_1_of_normal_codes_by_the_running_statistics() -> None:
    """main.py: noise.normal_(0, 1); gan_mnist.py: tf.random_normal."""
    experiment = plain()
    samples = experiment.sample(
        state_of(experiment, NETWORKS.made(mean=0.5, variance=4.0)), jax.random.key(3), jaxgen.given(300)
    )
    assert samples.shape == (300, 8, 8, 1)
    np.testing.assert_array_equal(samples[:, 1::2], 0.5)
    z = 2 * numbers(samples) + 0.5
    readable.assert_normal(z)
    assert np.abs(np.corrcoef(z.T) - np.eye(UNITS)).max() < 0.25


@pytest.mark.parametrize("penalty", ["gp", "clip"])
def test_both_players_train_and_are_evaluated_on_codes_of_that_law(penalty: str, measured: list) -> None:
    experiment = plain(penalty=penalty)
    state = state_of(experiment, NETWORKS.made(mean=0.5, variance=4.0) | NETWORKS.judged())
    # By running statistics: those of the batch would make it a law of variance one.
    batch = images(3000)
    _, judged = told(experiment, "critic", state, batch)
    generated, _ = told(experiment, "generator", state, batch)
    evaluated = jax.jit(measured[0].measure)(state, batch, jax.random.key(2))["fake_logit"]
    for pixel in (judged["fake_logit"], -generated, np.asarray(evaluated)):
        readable.assert_normal(2 * unit(pixel.astype(np.float64)) + 0.5)


def test_the_generator_moves_after_every_fifth_move_of_the_critic() -> None:
    """Algorithm 1 of both papers: n_critic is 5, and the generator comes after the critic."""
    players = plain().players
    assert [(name, player.every) for name, player in players.items()] == [("critic", 1), ("generator", 5)]
    players = plain(critic_steps=3, penalty="clip").players
    assert [(name, player.every) for name, player in players.items()] == [("critic", 1), ("generator", 3)]


@pytest.mark.parametrize("penalty", ["gp", "clip"])
def test_the_losses_of_both_players(penalty: str) -> None:
    """f is to be large on the data and small on samples: E f(G(z)) - E f(x), and -E f(G(z)); the same in both papers."""
    experiment = plain(penalty=penalty)
    state, batch = state_of(experiment, STILL | NETWORKS.judged(3.0)), images(5)
    real, fake = 3 * first_pixel(batch), np.full(5, 3 * np.tanh(0.7))
    values, metrics = told(experiment, "critic", state, batch)
    np.testing.assert_allclose(values - metrics.get("penalty", 0.0), fake - real, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told(experiment, "generator", state, batch)[0], -fake, rtol=1e-4)
    assert set(metrics) == {"wasserstein", "real_logit", "fake_logit"} | ({"penalty"} if penalty == "gp" else set())
    np.testing.assert_allclose(metrics["wasserstein"], real - fake, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["real_logit"], real, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("flags", "gain", "expected"), [({}, 3.0, 40.0), ({}, 0.5, 2.5), ({"weight": 2.0}, 3.0, 8.0)])
def test_the_gradient_penalty_is_two_sided_about_a_norm_of_one(flags: Any, gain: float, expected: float) -> None:
    """Equation 3, with lambda = 10: of a linear critic, whose gradient has the norm `gain`, lambda (gain - 1)^2 anywhere."""
    experiment = plain(**flags)
    state = state_of(experiment, STILL | NETWORKS.judged(gain))
    for train in (True, False):
        values, metrics = told(experiment, "critic", state, images(4), train=train)
        np.testing.assert_allclose(metrics["penalty"], expected, rtol=1e-4)
        np.testing.assert_allclose(values, expected - metrics["wasserstein"], rtol=1e-4)


def test_a_critic_with_a_penalty_has_no_batch_normalisation_and_one_with_clipped_weights_has() -> None:
    """Gulrajani et al. 2017, section 4; main.py trains the DCGAN's discriminator with its batch normalisation."""
    for penalty, normalised in (("gp", False), ("clip", True)):
        found = shapes(plain(penalty=penalty, channels=(2, 3)))
        assert any(name.startswith("critic/norm1") for name in found) == normalised
        assert any(name.startswith("generator/BatchNorm_0") for name in found)


def test_the_critics_parameters_are_clipped_and_the_generators_are_not() -> None:
    """Algorithm 1, line 7; main.py clamps all of netD's parameters, the gains of its batch normalisation too."""
    for limit in (0.01, 0.002):
        players = plain(penalty="clip", limit=limit).players
        params = {"kernel": jnp.full((2, 2), 0.3), "scale": jnp.full((2,), 1.0), "bias": jnp.full((2,), -0.5)}
        for name, player in players.items():
            update, _ = player.tx.update(jax.tree.map(jnp.zeros_like, params), player.tx.init(params), params)
            moved = jax.tree.map(jnp.add, params, update)
            for leaf, value in params.items():
                expected = np.clip(value, -limit, limit) if name == "critic" else value
                np.testing.assert_allclose(moved[leaf], expected, atol=1e-6)
    for player in plain(penalty="gp").players.values():
        assert moves(player.tx, [0.0, 0.0]) == [0, 0]
        params = {"kernel": jnp.full((2, 2), 0.3)}
        update, _ = player.tx.update({"kernel": jnp.zeros((2, 2))}, player.tx.init(params), params)
        assert not update["kernel"].any()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        # Adam's first move is its rate; RMSProp's is rate / sqrt(1 - 0.99).
        ({}, 1e-4),
        ({"learning_rate": 0.02}, 0.02),
        ({"penalty": "clip"}, 5e-4),
        ({"penalty": "clip", "learning_rate": 1e-5}, 1e-4),
    ],
)
def test_the_learning_rate_is_that_of_both_players(flags: Any, expected: float) -> None:
    for player in plain(**flags).players.values():
        assert moves(player.tx, [3.0]) == pytest.approx([-expected], rel=1e-4)


def test_what_is_evaluated(measured: list) -> None:
    experiment = plain()
    state = state_of(experiment, NETWORKS.made() | NETWORKS.judged(3.0))
    batch = images(4)
    found = {name: np.asarray(v) for name, v in jax.jit(measured[0].measure)(state, batch, jax.random.key(2)).items()}
    assert set(found) == {"critic_loss", "wasserstein", "real_logit", "fake_logit", "penalty"}
    np.testing.assert_allclose(found["real_logit"], 3 * first_pixel(batch), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["critic_loss"], found["fake_logit"] - found["real_logit"] + 40, rtol=1e-4)
    assert (experiment.best, experiment.protocol, experiment.final) == (None, {}, {})


@pytest.mark.parametrize("channels", [(4, 8), (3, 5, 7)])
def test_the_generator_mirrors_the_critic(channels: tuple[int, ...]) -> None:
    found = shapes(plain(channels=channels))
    ups = [found[f"generator/ConvTranspose_{i}/kernel"] for i in range(len(channels))]
    downs = [found[f"critic/down{i}/kernel"] for i in range(len(channels))]
    assert downs == [(4, 4, before, after) for before, after in zip((1, *channels), channels, strict=False)]
    assert ups == [(*size, after, before) for *size, before, after in downs[::-1]]


def test_flags_that_the_loop_is_given() -> None:
    experiment = plain(ema=None, steps=7)
    assert (experiment.ema, experiment.accumulate, experiment.steps) == (None, 1, 7)
    assert plain().ema == 0.99


def test_half_precision_reaches_both_players() -> None:
    whole, half = plain(), plain(bf16=True)
    state, batch = state_of(whole, NETWORKS.made() | NETWORKS.judged()), images(4)
    logit = told(half, "critic", state, batch)[1]["real_logit"]
    assert 1e-4 < np.abs(logit - first_pixel(batch)).max() < 0.1
    made = [experiment.sample(state, jax.random.key(0), jaxgen.given(20)) for experiment in (whole, half)]
    assert 1e-4 < np.abs(made[0] - made[1]).max() < 0.1


def test_the_pictures_are_of_the_same_samples() -> None:
    experiment = plain()
    state = state_of(experiment, NETWORKS.made())
    picture = experiment.pictures["samples"](state, jax.random.key(5))
    np.testing.assert_allclose(picture.images, experiment.sample(state, jax.random.key(5), jaxgen.given(128)), atol=1e-6)
    assert list(experiment.pictures) == ["samples", "interpolations", "arithmetic"]


def test_the_diversity_of_samples_is_evaluated_and_watched(measured: list) -> None:
    experiment = plain()
    readable.assert_watched(experiment, state_of(experiment, NETWORKS.made()))
