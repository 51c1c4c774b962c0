"""The conditional translation game against losses written by hand: its maps, its noise, its statistics and its variables."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import nn as layers
from jaxgen import objectives
from jaxgen.losses import adversarial

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4, 3, 2)).astype(np.float32)
Y = RNG.normal(size=(5, 4, 3, 1)).astype(np.float32)
BATCH = {"image": jnp.array(X), "target": jnp.array(Y)}


class Generator(nn.Module):
    """A matrix at every pixel, and a number of noise for each example."""

    normalised: bool = False

    @nn.compact
    def __call__(self, x: Any, key: Any = None, *, train: bool = False) -> Any:
        h = nn.Dense(1)(x)
        if self.normalised:
            h = layers.BatchNorm()(h, train=train)
        return h if key is None else h + jax.vmap(jax.random.normal)(key)[:, None, None, None]


class Discriminator(nn.Module):
    normalised: bool = False

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        h = nn.Dense(1)(x)
        return layers.BatchNorm()(h, train=train) if self.normalised else h


def game(loss: Any = adversarial.non_saturating, *, normalised: bool = False, **options: Any) -> Any:
    generator, discriminator = Generator(normalised), Discriminator(normalised)
    losses = objectives.conditional_translation(generator, discriminator, loss, **options)
    networks = {
        "generator": jaxgen.Network(generator, jnp.zeros((1, 4, 3, 2))),
        "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, 4, 3, 3))),
    }
    params, vars = jaxgen.initialize(networks)(jax.random.key(1))
    return losses, jaxgen.TrainState(jnp.int32(0), jax.random.key(2), params, {}, vars, {})


def plain(state: Any, x: np.ndarray) -> np.ndarray:
    own = state.params["generator"]["Dense_0"]
    return x @ np.asarray(own["kernel"]) + np.asarray(own["bias"])


def judged(state: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    own = state.params["discriminator"]["Dense_0"]
    return np.concatenate([x, y], -1) @ np.asarray(own["kernel"]) + np.asarray(own["bias"])


softplus = lambda x: np.logaddexp(0, x)
LOSSES = {
    "non_saturating": (
        adversarial.non_saturating,
        lambda real, fake: softplus(-real) + softplus(fake),
        lambda fake: softplus(-fake),
    ),
    "least_squares": (
        adversarial.least_squares(),
        lambda real, fake: (real - 1) ** 2 + fake**2,
        lambda fake: (fake - 1) ** 2,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [{}, {"l1": 3.0, "gan": 0.5}])
def test_the_losses_of_both_players(name: str, weights: Any) -> None:
    """Half of the discriminator's loss; of the generator the loss and 100 times the mean absolute difference."""
    loss, of_discriminator, of_generator = LOSSES[name]
    (d_loss, g_loss), state = game(loss, noise=False, **weights)
    fake = plain(state, X)
    on_real, on_fake = judged(state, X, Y), judged(state, X, fake)
    values, aux = d_loss(state.params, state, BATCH, jax.random.key(0), train=False)
    np.testing.assert_allclose(values, of_discriminator(on_real, on_fake).mean((1, 2, 3)) / 2, rtol=1e-4)
    assert all(value.shape == (5,) for value in aux.metrics.values())
    values, aux = g_loss(state.params, state, BATCH, jax.random.key(0), train=False)
    l1, adversarially = np.abs(fake - Y).mean((1, 2, 3)), of_generator(on_fake).mean((1, 2, 3))
    np.testing.assert_allclose(aux.metrics["l1"], l1, rtol=1e-4)
    np.testing.assert_allclose(aux.metrics["adversarial"], adversarially, rtol=1e-4)
    np.testing.assert_allclose(values, weights.get("gan", 1) * adversarially + weights.get("l1", 100) * l1, rtol=1e-4)


def test_without_an_adversarial_weight_the_generator_does_not_see_the_discriminator() -> None:
    (_, g_loss), state = game(gan=0.0)
    alone = {"generator": state.params["generator"]}
    values, aux = g_loss(alone, state._replace(params=alone, vars={}), BATCH, jax.random.key(0), train=True)
    assert set(aux.metrics) == {"l1"}
    np.testing.assert_allclose(values, 100 * aux.metrics["l1"], rtol=1e-6)


def test_noise_is_the_examples_own_and_the_flag_is_of_evaluations_alone() -> None:
    key = jax.random.key(5)
    for noise in (True, False):
        (_, g_loss), state = game(noise=noise)
        trained, evaluated = (g_loss(state.params, state, BATCH, key, train=train)[1].metrics["l1"] for train in (True, False))
        silent = np.abs(plain(state, X) - Y).mean((1, 2, 3))
        assert np.abs(trained - silent).max() > 0.1
        assert (np.abs(evaluated - silent).max() < 1e-5) != noise
        part = {**{name: a[1:3] for name, a in BATCH.items()}, "slot": jnp.arange(1, 3)}
        whole = g_loss(state.params, state, {**BATCH, "slot": jnp.arange(5)}, key, train=True)[0]
        np.testing.assert_allclose(g_loss(state.params, state, part, key, train=True)[0], whole[1:3], rtol=1e-5)


def test_each_turn_keeps_the_statistics_of_its_own_player() -> None:
    losses, state = game(normalised=True)
    for loss, name in zip(losses, ("discriminator", "generator"), strict=True):
        _, aux = loss(state.params, state, BATCH, jax.random.key(0), train=True)
        assert set(aux.vars) == {name}
        before, after = (jax.tree.leaves(v[name]) for v in (state.vars, aux.vars))
        assert not all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        _, aux = loss(state.params, state, BATCH, jax.random.key(0), train=False)
        jax.tree.map(np.testing.assert_array_equal, dict(aux.vars), {name: state.vars[name]})


def test_an_evaluation_normalises_each_image_by_itself_or_by_the_running_statistics() -> None:
    """A batch of one in training is what the authors train and test with."""
    for own in (True, False):
        (_, g_loss), state = game(normalised=True, own_statistics=own, noise=False)
        values = g_loss(state.params, state, BATCH, jax.random.key(0), train=False)[1].metrics["l1"]
        raw = plain(state, X)
        mean, var = (raw.mean((1, 2, 3), keepdims=True), raw.var((1, 2, 3), keepdims=True)) if own else (0.0, 1.0)
        expected = (raw - mean) / np.sqrt(var + 1e-5)
        np.testing.assert_allclose(values, np.abs(expected - Y).mean((1, 2, 3)), rtol=1e-4)
        made = objectives.translate(Generator(True), state.params, state.vars, jnp.array(X), own_statistics=own)
        np.testing.assert_allclose(made, expected, atol=1e-4)


def test_a_translation_is_drawn_by_the_key_of_its_image() -> None:
    _, state = game()
    keys = jax.random.split(jax.random.key(0), 5)
    for own in (True, False):
        made = objectives.translate(Generator(), state.params, state.vars, jnp.array(X), keys, own_statistics=own)
        expected = plain(state, X) + np.array([jax.random.normal(key) for key in keys])[:, None, None, None]
        np.testing.assert_allclose(made, expected, atol=1e-5)
