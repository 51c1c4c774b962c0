"""Approximate Bayesian computation against posteriors that are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.errors import InputError
from jaxgen.samplers import approximate_bayesian as abc

KEY = jax.random.key(0)
N, STD, OBSERVED = 4, 1.5, 0.4
"""Observations of a normal law of known width, and their mean; the prior is uniform on [-10, 10]."""


def uniform(key: jax.Array) -> jax.Array:
    return jax.random.uniform(key, (1,), minval=-10.0, maxval=10.0)


def mean_of_normal(key: jax.Array, theta: jax.Array) -> jax.Array:
    return (theta + STD * jax.random.normal(key, (N,))).mean(keepdims=True)


FROM_OBSERVED = abc.euclidean(np.array([OBSERVED]))


def exact_cdf(epsilon: float) -> Any:
    r"""Of the posterior given $|\bar x - x_o| \leq \varepsilon$: a difference of normal distribution functions."""
    s, grid = STD / np.sqrt(N), np.linspace(-10, 10, 20_001)
    density = stats.norm.cdf((OBSERVED + epsilon - grid) / s) - stats.norm.cdf((OBSERVED - epsilon - grid) / s)
    total = np.cumsum(density)
    return lambda x: np.interp(x, grid, total / total[-1])


@pytest.mark.parametrize("epsilon", [0.2, 1.5])
def test_draws_of_rejection_are_those_of_the_exact_posterior(epsilon: float) -> None:
    found = abc.reject(uniform, mean_of_normal, FROM_OBSERVED, KEY, epsilon=epsilon, draws=2000)
    assert found.theta.shape == (2000, 1)
    assert (found.distance <= epsilon).all()
    assert stats.kstest(found.theta[:, 0], exact_cdf(epsilon)).pvalue > 0.01
    assert found.rate == pytest.approx(2 * epsilon / 20, rel=0.15), "the prior is flat: the share of the window"


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_the_variance_grows_by_a_third_of_the_square_of_epsilon(epsilon: float) -> None:
    found = abc.reject(uniform, mean_of_normal, FROM_OBSERVED, KEY, epsilon=epsilon, draws=4000)
    expected = STD**2 / N + epsilon**2 / 3
    assert float(found.covariance[0, 0]) == pytest.approx(expected, rel=4 * np.sqrt(2 / 4000))
    assert float(found.mean[0]) == pytest.approx(OBSERVED, abs=4 * np.sqrt(expected / 4000))


def test_equal_counts_give_the_exact_posterior() -> None:
    """A uniform prior of a probability and 7 of 10: Beta(8, 4). A gamma prior of a rate and 3 events: Gamma(2 + 3, 1 + 1)."""
    heads = lambda key, theta: (jax.random.uniform(key, (10,)) < theta).sum(keepdims=True).astype(jnp.float32)
    prior = lambda key: jax.random.uniform(key, (1,))
    found = abc.reject(prior, heads, abc.euclidean(np.array([7.0])), KEY, epsilon=0, draws=2000)
    assert stats.kstest(found.theta[:, 0], stats.beta(8, 4).cdf).pvalue > 0.01
    events = lambda key, theta: jax.random.poisson(key, theta[0], (1,)).astype(jnp.float32)
    gamma = lambda key: jax.random.gamma(key, 2.0, (1,))
    found = abc.reject(gamma, events, abc.euclidean(np.array([3.0])), KEY, epsilon=0, draws=2000)
    assert stats.kstest(found.theta[:, 0], stats.gamma(5, scale=1 / 2).cdf).pvalue > 0.01


def test_draws_do_not_depend_on_how_many_simulations_run_at_once() -> None:
    several = [
        abc.reject(uniform, mean_of_normal, FROM_OBSERVED, KEY, epsilon=1.0, draws=30, at_once=n) for n in (64, 1000, 10_000)
    ]
    for other in several[1:]:
        np.testing.assert_allclose(other.theta, several[0].theta, rtol=1e-6)
        assert other.simulations == several[0].simulations


def test_the_nearest_share_is_rejection_at_its_last_distance() -> None:
    near = abc.nearest(uniform, mean_of_normal, FROM_OBSERVED, KEY, share=0.05, simulations=20_000)
    assert len(near.theta) == 1000
    assert (np.diff(near.distance) >= 0).all()
    assert near.epsilon == near.distance[-1]
    by_epsilon = abc.reject(uniform, mean_of_normal, FROM_OBSERVED, KEY, epsilon=near.epsilon, draws=1000, most=20_000)
    np.testing.assert_allclose(np.sort(near.theta[:, 0]), np.sort(by_epsilon.theta[:, 0]), rtol=1e-6)


def test_a_regression_undoes_a_large_epsilon_where_the_model_is_linear() -> None:
    """Given the statistic, the parameter is normal about a line through it: the exact posterior comes back at any epsilon."""
    near = abc.nearest(uniform, mean_of_normal, FROM_OBSERVED, KEY, share=0.25, simulations=40_000)
    adjusted = abc.regression_adjusted(near, np.array([OBSERVED]))
    exact = STD**2 / N
    assert float(near.covariance[0, 0]) > 4 * exact
    assert float(adjusted.covariance[0, 0]) == pytest.approx(exact, rel=0.05)
    assert float(adjusted.mean[0]) == pytest.approx(OBSERVED, abs=0.03)
    assert adjusted.weight.sum() == pytest.approx(1)


def test_populations_end_in_the_same_posterior_with_fewer_simulations() -> None:
    log_prior = lambda theta: jnp.where((jnp.abs(theta) <= 10).all(), -jnp.log(20.0), -jnp.inf)
    populations = abc.sequential(
        uniform, log_prior, mean_of_normal, FROM_OBSERVED, KEY, epsilons=(4.0, 1.0, 0.2), draws=2000, at_once=2000
    )
    last = populations[-1]
    variance = STD**2 / N + 0.2**2 / 3
    assert [one.epsilon for one in populations] == [4.0, 1.0, 0.2]
    assert float(last.mean[0]) == pytest.approx(OBSERVED, abs=5 * np.sqrt(variance / last.effective))
    assert float(last.covariance[0, 0]) == pytest.approx(variance, rel=0.12)
    assert 1000 < last.effective < 2000
    at_once = abc.reject(uniform, mean_of_normal, FROM_OBSERVED, KEY, epsilon=0.2, draws=2000)
    assert sum(one.simulations for one in populations) < 0.7 * at_once.simulations


def test_the_weights_of_a_population_undo_how_it_was_proposed() -> None:
    """Where everything is accepted, a population is its proposals, of three times the variance of the one before; with their
    weights they are the prior again."""
    normal = lambda key: jax.random.normal(key, (1,))
    log_normal = lambda theta: -0.5 * (theta**2).sum()
    told_nothing = lambda key, theta: jnp.zeros(1)
    first, second = abc.sequential(
        normal, log_normal, told_nothing, abc.euclidean(np.zeros(1)), KEY, epsilons=(2.0, 1.0), draws=3000, at_once=3000
    )
    assert second.theta.var() == pytest.approx(3 * float(first.covariance[0, 0]), rel=4 * np.sqrt(2 / 3000))
    assert float(second.covariance[0, 0]) == pytest.approx(1.0, rel=4 * np.sqrt(2 / second.effective))
    assert float(second.mean[0]) == pytest.approx(0.0, abs=4 / np.sqrt(second.effective))


def test_what_the_prior_excludes_is_never_proposed_with_success() -> None:
    """An observation at the edge of the prior: all draws stay inside, and their law is the truncated one."""
    at_edge = abc.euclidean(np.array([10.0]))
    log_prior = lambda theta: jnp.where((jnp.abs(theta) <= 10).all(), 0.0, -jnp.inf)
    last = abc.sequential(uniform, log_prior, mean_of_normal, at_edge, KEY, epsilons=(2.0, 0.3), draws=2000, at_once=2000)[-1]
    assert (np.abs(last.theta) <= 10).all()
    s = np.sqrt(STD**2 / N + 0.3**2 / 3)
    assert float(10 - last.mean[0]) == pytest.approx(s * np.sqrt(2 / np.pi), rel=0.1)


def test_statistics_are_scaled_by_what_outliers_do_not_move() -> None:
    rng = np.random.default_rng(0)
    s = np.stack([rng.normal(size=1001), 100 * rng.normal(size=1001)], axis=1)
    s[0] = 1e9
    scale = abc.median_deviation(s)
    np.testing.assert_allclose(scale, 0.6745 * np.array([1.0, 100.0]), rtol=0.1)
    assert float(abc.euclidean(np.zeros(2), scale)(jnp.asarray(3 * scale))) == pytest.approx(np.sqrt(18), rel=1e-5)


def test_too_few_accepted_is_said_with_the_mend() -> None:
    with pytest.raises(InputError, match=r"Of 1,000 simulations [\d,]+ came within epsilon 1e-09 .* give a larger epsilon"):
        abc.reject(uniform, mean_of_normal, FROM_OBSERVED, KEY, epsilon=1e-9, draws=10, most=1000)
    with pytest.raises(InputError, match="A share of 0 of 100 simulations is 0 of them"):
        abc.nearest(uniform, mean_of_normal, FROM_OBSERVED, KEY, share=0.0, simulations=100)
    with pytest.raises(InputError, match="not finite"):
        abc.nearest(uniform, lambda key, theta: theta / 0, FROM_OBSERVED, KEY, share=0.5, simulations=100)
    with pytest.raises(InputError, match=r"these are \[1\.0, 0\.0\]; leave out a statistic that hardly varies"):
        abc.euclidean(np.zeros(2), np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="0 draws of at most 10000000 simulations are none"):
        abc.reject(uniform, mean_of_normal, FROM_OBSERVED, KEY, epsilon=1.0, draws=0)
    for epsilons, draws in (((), 10), ((1.0,), 1)):
        with pytest.raises(InputError, match=r"descend|needs 2 draws"):
            abc.sequential(uniform, lambda t: t, mean_of_normal, FROM_OBSERVED, KEY, epsilons=epsilons, draws=draws)
    with pytest.raises(InputError, match="descend"):
        abc.sequential(uniform, lambda t: t, mean_of_normal, FROM_OBSERVED, KEY, epsilons=(1.0, 2.0), draws=10)
    two = abc.nearest(uniform, mean_of_normal, FROM_OBSERVED, KEY, share=0.02, simulations=100)
    with pytest.raises(InputError, match="A regression on 1 statistics needs more than 1 draws"):
        abc.regression_adjusted(two, np.array([OBSERVED]))
