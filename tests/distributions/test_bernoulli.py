"""The Bernoulli distribution against scipy."""

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from jaxgen.distributions import Bernoulli


def vectors(low: float, high: float) -> st.SearchStrategy:
    numbers = st.floats(np.float32(low), np.float32(high), width=32, allow_subnormal=False)
    return hnp.arrays(np.float32, 16, elements=numbers)


@jax.jit
def log_prob(logits: jax.Array, x: jax.Array) -> jax.Array:
    return Bernoulli(logits).log_prob(x)


gradient = jax.jit(jax.grad(lambda *a: log_prob(*a).sum()))


@given(vectors(-15, 15), hnp.arrays(np.int32, 16, elements=st.integers(0, 1)))
def test_log_prob_is_scipys(logits: np.ndarray, x: np.ndarray) -> None:
    ours = log_prob(logits, x.astype(np.float32))
    np.testing.assert_allclose(ours, stats.bernoulli.logpmf(x, special.expit(logits.astype(np.float64))), rtol=1e-6, atol=4e-6)


@given(vectors(-1e30, 1e30) | vectors(-200, 200), vectors(0, 1))
def test_log_prob_of_fractions_is_the_cross_entropy_even_at_extreme_logits(logits: np.ndarray, x: np.ndarray) -> None:
    ours = log_prob(logits, x)
    p, t = logits.astype(np.float64), x.astype(np.float64)
    theirs = t * special.log_expit(p) + (1 - t) * special.log_expit(-p)
    # One rounding of the logit's size: log p and log (1 - p) differ by it.
    assert (np.abs(ours - theirs) <= 1e-6 + 3e-7 * np.abs(p)).all()


@given(vectors(-1e30, 1e30) | vectors(-20, 20), vectors(0, 1))
def test_gradients_are_finite_and_exact(logits: np.ndarray, x: np.ndarray) -> None:
    np.testing.assert_allclose(gradient(logits, x), x - special.expit(logits.astype(np.float64)), atol=1e-6)


def test_probabilities_sum_to_one() -> None:
    d = Bernoulli(jnp.linspace(-30, 30, 61))
    np.testing.assert_allclose(jnp.exp(d.log_prob(jnp.zeros(61))) + jnp.exp(d.log_prob(jnp.ones(61))), 1.0, rtol=1e-5)


def test_mean_is_the_probability_of_a_one() -> None:
    d = Bernoulli(jnp.linspace(-5, 5, 11))
    np.testing.assert_allclose(d.mean, jnp.exp(d.log_prob(jnp.ones(11))), rtol=1e-5)


def test_samples_are_zeros_and_ones_in_proportion() -> None:
    n, p = 100_000, np.array([0.01, 0.5, 0.9])
    logits = jnp.array(special.logit(p), jnp.float32)
    x = np.asarray(Bernoulli(jnp.broadcast_to(logits, (n, 3))).sample(jax.random.key(0)))
    assert x.dtype == np.float32
    assert set(np.unique(x)) == {0.0, 1.0}
    np.testing.assert_array_less(np.abs(x.mean(0) - p), 5 * np.sqrt(p * (1 - p) / n))


def test_half_precision_logits_are_scored_in_float32() -> None:
    logits = jnp.linspace(-8, 8, 33).astype(jnp.bfloat16)
    ours = Bernoulli(logits).log_prob(jnp.ones(33))
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, special.log_expit(np.asarray(logits, np.float64)), rtol=1e-5, atol=2e-6)
