"""The discretised logistic distribution against differences of scipy's logistic distribution function."""

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxgen.distributions import DiscretizedLogistic

GRID = np.linspace(-1, 1, 256, dtype=np.float32)


def vectors(low: float, high: float) -> st.SearchStrategy:
    numbers = st.floats(np.float32(low), np.float32(high), width=32, allow_subnormal=False)
    return hnp.arrays(np.float32, 16, elements=numbers)


@jax.jit
def log_probs(loc: jax.Array, log_scale: jax.Array) -> jax.Array:
    return DiscretizedLogistic(loc, log_scale).log_prob(jnp.array(GRID)[:, None])


@jax.jit
def value_and_gradients(loc: jax.Array, log_scale: jax.Array) -> tuple[jax.Array, ...]:
    value, pull = jax.vjp(log_probs, loc, log_scale)
    return value, *pull(jnp.ones_like(value))


def scipy_probability(x: np.ndarray, loc: np.ndarray, scale: np.ndarray, levels: int = 256) -> np.ndarray:
    half = 1 / (levels - 1)
    x, loc, scale = (np.asarray(a, np.float64) for a in (x, loc, scale))
    upper = np.where(np.abs(x - 1) < half, np.inf, (x + half - loc) / scale)
    lower = np.where(np.abs(x + 1) < half, -np.inf, (x - half - loc) / scale)
    # The smaller of the two tails, since 1 - tiny is 1.
    below = stats.logistic.cdf(upper) - stats.logistic.cdf(lower)
    above = stats.logistic.sf(lower) - stats.logistic.sf(upper)
    return np.where(lower > 0, above, below)


@given(vectors(-10, 10), vectors(-12, 10))
def test_probabilities_of_all_levels_sum_to_one(loc: np.ndarray, log_scale: np.ndarray) -> None:
    total = np.exp(np.asarray(log_probs(loc, log_scale), np.float64)).sum(0)
    # A bound between two levels is rounded once for each; the density there is at most 1 / (4 s).
    np.testing.assert_array_less(np.abs(total - 1), 1e-5 + 2e-7 * (1 + np.abs(loc)) * np.exp(-log_scale))


@given(vectors(-1.5, 1.5), vectors(-7, 5))
def test_log_prob_is_that_of_a_difference_of_cdfs(loc: np.ndarray, log_scale: np.ndarray) -> None:
    ours = log_probs(loc, log_scale)
    p = scipy_probability(GRID[:, None], loc, np.exp(log_scale.astype(np.float64)))
    representable = p > 1e-290
    theirs = np.log(np.where(representable, p, 1.0))
    tolerance = 1e-5 * (1 + np.abs(theirs)) + 4e-7 * np.exp(-log_scale)
    assert (np.abs(ours - theirs) <= tolerance)[representable].all()


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_outermost_levels_take_the_mass_beyond_them(levels: int) -> None:
    loc, log_scale = jnp.array([-3.0, 0.2, 3.0]), jnp.array([0.5, 0.5, 0.5])
    d, half = DiscretizedLogistic(loc, log_scale, levels), 1 / (levels - 1)
    low, high = jnp.exp(d.log_prob(jnp.array(-1.0))), jnp.exp(d.log_prob(jnp.array(1.0)))
    np.testing.assert_allclose(low, stats.logistic.cdf(-1 + half, loc, np.exp(0.5)), rtol=1e-5)
    np.testing.assert_allclose(high, stats.logistic.sf(1 - half, loc, np.exp(0.5)), rtol=1e-5)


def test_levels_next_to_the_outermost_ones_are_bounded_on_both_sides() -> None:
    loc, log_scale = np.array([-2.0, 0.0, 2.0], np.float32), np.full(3, -1.0, np.float32)
    x = GRID[[1, -2]][:, None]
    ours = DiscretizedLogistic(jnp.array(loc), jnp.array(log_scale)).log_prob(jnp.array(x))
    np.testing.assert_allclose(ours, np.log(scipy_probability(x, loc, np.exp(-1.0))), rtol=1e-5)


@given(vectors(-1e6, 1e6), vectors(-40, 40))
def test_log_prob_and_gradients_stay_finite_far_away_and_at_tiny_scales(loc: np.ndarray, log_scale: np.ndarray) -> None:
    assert all(np.isfinite(values).all() for values in value_and_gradients(loc, log_scale))


def test_a_far_away_level_still_pulls_the_location() -> None:
    def value(loc: jax.Array) -> jax.Array:
        return DiscretizedLogistic(loc, jnp.array(-5.0)).log_prob(jnp.array(GRID[200]))

    # Far to the left of x the log-probability grows by 1 / s, far to the right it falls by as much.
    np.testing.assert_allclose(jax.grad(value)(jnp.array(-50.0)), np.exp(5.0), rtol=1e-4)
    np.testing.assert_allclose(jax.grad(value)(jnp.array(50.0)), -np.exp(5.0), rtol=1e-4)


@pytest.mark.parametrize("levels", [2, 5, 8, 256])
def test_samples_lie_on_the_grid(levels: int) -> None:
    x = np.asarray(DiscretizedLogistic(jnp.linspace(-1.5, 1.5, 10_000), jnp.array(-1.0), levels).sample(jax.random.key(0)))
    index = (x.astype(np.float64) + 1) * (levels - 1) / 2
    np.testing.assert_allclose(index, np.round(index), atol=1e-4)
    assert set(np.round(index)) == set(range(levels))


@pytest.mark.parametrize(("loc", "log_scale"), [(0.0, -1.0), (0.4, -2.0), (-0.9, -1.0)])
def test_samples_fall_on_levels_as_often_as_log_prob_says(loc: float, log_scale: float) -> None:
    n, levels = 50_000, 8
    d = DiscretizedLogistic(jnp.full(n, loc), jnp.array(log_scale), levels)
    index = np.round((np.asarray(d.sample(jax.random.key(1))) + 1) * (levels - 1) / 2).astype(int)
    expected = n * scipy_probability(np.linspace(-1, 1, levels), loc, np.exp(log_scale), levels)
    assert stats.chisquare(np.bincount(index, minlength=levels), expected).pvalue > 1e-3


def test_mean_is_the_location_within_the_range_of_pixels() -> None:
    d = DiscretizedLogistic(jnp.array([-4.0, 0.25, 4.0]), jnp.zeros(3))
    np.testing.assert_array_equal(d.mean, [-1.0, 0.25, 1.0])
