"""The game of two numbers against closed forms, and against the stock objectives that train modules."""

import cmath

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen import objectives
from jaxgen.analysis import dirac_game
from jaxgen.losses import adversarial, penalty

SLOPES = {"minimax": 0.5, "non_saturating": 0.5, "wasserstein": 1.0}
START = jnp.array([1.0, 1.0])


def radius(path: jax.Array) -> np.ndarray:
    return np.linalg.norm(np.asarray(path, np.float64), axis=-1)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("name", SLOPES)
def test_rates(name: str, gamma: float) -> None:
    root = cmath.sqrt(gamma**2 / 4 - SLOPES[name] ** 2)
    expected = sorted([-gamma / 2 + root, -gamma / 2 - root], key=lambda z: (z.real, z.imag))
    found = sorted(
        dirac_game.rates(dirac_game.Game(getattr(adversarial, name), gamma)), key=lambda z: (round(z.real, 5), z.imag)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_path_leads_away_at_once_stays_in_turn_and_comes_home_with_a_penalty() -> None:
    plain, held = dirac_game.Game(adversarial.wasserstein), dirac_game.Game(adversarial.wasserstein, gamma=0.5)
    at_once = radius(dirac_game.walk(plain, START, learning_rate=0.1, steps=500))
    # The Wasserstein game is linear: a step multiplies by 1 +- i h.
    np.testing.assert_allclose(at_once, 2**0.5 * (1 + 0.1**2) ** (np.arange(1, 501) / 2), rtol=1e-4)
    in_turn = radius(dirac_game.walk(plain, START, learning_rate=0.1, steps=5000, alternating=True))
    assert 1.2 < in_turn.min() < in_turn.max() < 1.6
    for alternating in (False, True):
        assert radius(dirac_game.walk(held, START, learning_rate=0.1, steps=500, alternating=alternating))[-1] < 1e-3


class Line(nn.Module):
    """psi x of points `[B, 1]`."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return self.param("psi", nn.initializers.ones_init(), ()) * x[:, 0]


class Point(nn.Module):
    """theta, for every z."""

    @nn.compact
    def __call__(self, z: jax.Array, *, train: bool = False) -> jax.Array:
        return self.param("theta", nn.initializers.ones_init(), ()) + 0 * z


@pytest.mark.trains
@pytest.mark.parametrize("gamma", [0.0, 0.5])
@pytest.mark.parametrize("alternating", [False, True])
def test_trained_modules_take_the_same_path(gamma: float, alternating: bool) -> None:
    held = penalty.r1(gamma) if gamma else None
    d_loss, g_loss = objectives.adversarial(Point(), Line(), adversarial.non_saturating, latents=1, feature="x", penalty=held)
    losses = {"discriminator": d_loss, "generator": g_loss}
    if alternating:
        players = {name: jaxgen.Player(loss, optax.sgd(0.2)) for name, loss in losses.items()}
    else:
        players = {"game": jaxgen.Player(objectives.simultaneous(losses, name=None), optax.sgd(0.2), owns=tuple(losses))}
    networks = {
        name: jaxgen.Network(module, jnp.zeros((1, 1))) for name, module in (("discriminator", Line()), ("generator", Point()))
    }
    state = jaxgen.create_state(jax.random.key(0), *jaxgen.initialize(networks)(jax.random.key(1)), players)
    step = jax.jit(jaxgen.make_train_step(players))
    path = []
    for _ in range(20):
        state, _ = step(state, {"x": jnp.zeros((4, 1))})
        path.append([state.params["discriminator"]["psi"], state.params["generator"]["theta"]])
    game = dirac_game.Game(adversarial.non_saturating, gamma)
    expected = dirac_game.walk(game, START, learning_rate=0.2, steps=20, alternating=alternating)
    np.testing.assert_allclose(np.array(path), expected, atol=1e-5)
