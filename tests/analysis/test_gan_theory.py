"""The theory of the game on the line, against closed forms, and against a discriminator that has learnt."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate, stats

import jaxgen
from jaxgen import objectives
from jaxgen.analysis import gan_theory
from jaxgen.distributions import Normal
from jaxgen.losses import adversarial
from jaxgen.models.gan import mlp

X = jnp.linspace(-30.0, 30.0, 12001)


def normal(mean: float, std: float):
    return Normal(jnp.float32(mean), jnp.float32(std)).log_prob


def js(a: float, b: float, s: float = 1.0, t: float = 1.0) -> float:
    """By scipy's quadrature."""
    p, q = stats.norm(a, s), stats.norm(b, t)

    def f(x):
        m = (p.pdf(x) + q.pdf(x)) / 2
        return sum(0.5 * d.pdf(x) * np.log(d.pdf(x) / m) for d in (p, q) if d.pdf(x) > 1e-300)

    return integrate.quad(f, -30, 30, points=[a, b], limit=200)[0]


def test_the_value_is_minus_log_4_where_the_two_agree() -> None:
    p = normal(0.5, 1.3)
    logits = gan_theory.optimal_logits(p, p, X)
    assert float(abs(logits).max()) == 0
    assert gan_theory.value(logits, p, p, X) == pytest.approx(-math.log(4), abs=1e-5)


@pytest.mark.parametrize(("mean", "std"), [(1.0, 1.0), (3.0, 0.5), (12.0, 1.0)])
def test_the_value_is_twice_the_jensen_shannon_divergence_less_log_4(mean: float, std: float) -> None:
    p, q = normal(0.0, 1.0), normal(mean, std)
    expected = js(0.0, mean, 1.0, std)
    assert gan_theory.jensen_shannon(p, q, X) == pytest.approx(expected, abs=1e-4)
    logits = gan_theory.optimal_logits(p, q, X)
    assert gan_theory.value(logits, p, q, X) == pytest.approx(2 * expected - math.log(4), abs=2e-4)
    # No other discriminator does better.
    for change in (0.3 * jnp.sin(X), 0.2 * jnp.ones_like(X)):
        assert gan_theory.value(logits + change, p, q, X) < gan_theory.value(logits, p, q, X)


def test_the_slope_of_jensen_shannon_vanishes_and_that_of_wasserstein_stays() -> None:
    slopes = {
        name: [float(gan_theory.generator_slope(getattr(adversarial, name), jnp.float32(t))) for t in (0.5, 2.0, 8.0, 14.0)]
        for name in ("minimax", "non_saturating", "wasserstein")
    }
    for theta, minimax, other, wasserstein in zip((0.5, 2.0, 8.0, 14.0), *slopes.values(), strict=True):
        exact = 2 * (js(0, theta + 1e-3) - js(0, theta - 1e-3)) / 2e-3
        assert minimax == pytest.approx(exact, abs=2e-4)
        # KL(q || p) = theta^2 / 2.
        assert other == pytest.approx(theta - exact, rel=1e-3, abs=1e-3)
        assert wasserstein == pytest.approx(1.0, abs=1e-5)
    assert slopes["minimax"][-1] < 1e-8 < 1e-5 < slopes["minimax"][0]
    assert js(0, 14.0) == pytest.approx(math.log(2), abs=1e-6)


class Fixed(nn.Module):
    """A generator that does not learn: N(1, 1.5^2)."""

    @nn.compact
    def __call__(self, z, *, train=False):
        return 1.0 + 1.5 * z + 0.0 * self.param("unused", nn.initializers.zeros_init(), ())


@pytest.mark.trains
def test_a_discriminator_learns_the_optimal_one() -> None:
    discriminator = mlp.Discriminator((32, 32), activation=nn.tanh)
    loss, _ = objectives.adversarial(Fixed(), discriminator, adversarial.minimax, latents=1, feature="x")
    players = {"discriminator": jaxgen.Player(loss, optax.adam(optax.cosine_decay_schedule(1e-2, 1500)))}
    one = jnp.zeros((1, 1))
    networks = {"discriminator": jaxgen.Network(discriminator, one), "generator": jaxgen.Network(Fixed(), one)}
    state = jaxgen.create_state(jax.random.key(0), *jaxgen.initialize(networks)(jax.random.key(1)), players)
    step = jaxgen.make_train_step(players)

    def body(state, key):
        return step(state, {"x": jax.random.normal(key, (512, 1))})[0], None

    state, _ = jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(2), 1500)))(state)
    x = jnp.linspace(-2.5, 4.0, 50)
    learnt = objectives.apply(discriminator, state.params, {}, x[:, None], name="discriminator")[0]
    optimal = stats.norm(0, 1).pdf(x) / (stats.norm(0, 1).pdf(x) + stats.norm(1, 1.5).pdf(x))
    np.testing.assert_allclose(jax.nn.sigmoid(learnt), optimal, atol=0.05)
    p, q = normal(0.0, 1.0), normal(1.0, 1.5)
    grid = jnp.linspace(-6.0, 8.0, 2001)
    logits = objectives.apply(discriminator, state.params, {}, grid[:, None], name="discriminator")[0]
    assert gan_theory.value(logits, p, q, grid) == pytest.approx(2 * js(0, 1, 1, 1.5) - math.log(4), abs=0.01)
