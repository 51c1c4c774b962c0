"""Approximate Bayesian computation: posteriors of models that can be simulated, and whose likelihood is not known.

A simulator is a JAX function `(key, theta [d]) -> statistics [s]` of one parameter vector, and a prior a function
`key -> theta [d]`. Both are compiled for many at once. The i-th simulation draws from `fold_in(key, i)`, so that results do not
depend on how many run at a time.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgen.errors import InputError

Simulator = Callable[[PRNGKeyArray, Array], Array]
"""`simulator(key, theta [d]) -> statistics [s]`."""
Prior = Callable[[PRNGKeyArray], Array]
"""`prior(key) -> theta [d]`."""
Distance = Callable[[Array], Array]
"""`distance(statistics [s]) -> []`, from the observed ones."""


class Posterior(NamedTuple):
    """Draws from an approximate posterior.

    Fields:
      theta: the parameters, `[n, d]`.
      statistics: the statistics that were simulated with them, `[n, s]`.
      distance: the distances of these from the observed ones, `[n]`.
      weight: the weights of the draws, `[n]`, which sum to 1.
      epsilon: the largest distance that was accepted.
      simulations: the number of simulations that it took.
    """

    theta: np.ndarray
    statistics: np.ndarray
    distance: np.ndarray
    weight: np.ndarray
    epsilon: float
    simulations: int

    @property
    def rate(self) -> float:
        """The share of the simulations that was accepted."""
        return len(self.theta) / self.simulations

    @property
    def mean(self) -> np.ndarray:
        """The mean of the parameters, `[d]`."""
        return self.weight @ self.theta

    @property
    def covariance(self) -> np.ndarray:
        """The covariance of the parameters, `[d, d]`."""
        off = self.theta - self.mean
        return (self.weight[:, None] * off).T @ off

    @property
    def effective(self) -> float:
        r"""The number of equally weighted draws that vary as much, $1 / \sum_i w_i^2$."""
        return float(1 / (self.weight**2).sum())


def euclidean(observed: Float[np.ndarray, " s"], scale: Float[np.ndarray, " s"] | float = 1.0) -> Distance:
    """The Euclidean distance from the observed statistics, each divided by its scale (`median_deviation`); an `InputError` if a
    scale is not above 0.
    """
    if not (np.asarray(scale) > 0).all():
        raise InputError(
            f"Statistics are divided by their scales, and these are {np.asarray(scale).tolist()}; leave out a statistic that "
            "hardly varies, or give scales above 0."
        )
    return lambda statistics: jnp.sqrt((((statistics - observed) / scale) ** 2).sum())


def median_deviation(statistics: Float[np.ndarray, "n s"]) -> Float[np.ndarray, " s"]:
    """The median distance of each statistic from its median, a scale that outliers do not move.

    >>> median_deviation(np.array([[1.0], [2.0], [3.0], [4.0], [1000.0]])).tolist()
    [1.0]
    """
    return np.median(np.abs(statistics - np.median(statistics, axis=0)), axis=0)


def simulate(
    prior: Prior, simulator: Simulator, key: PRNGKeyArray, n: int, *, first: int = 0, at_once: int = 10_000
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters from the prior, and the statistics simulated with them.

    Args:
      prior: the prior.
      simulator: the simulator.
      key: a PRNG key.
      n: the number of simulations.
      first: the number of the first simulation.
      at_once: simulations that run at a time; the results do not depend on it.

    Returns:
      The parameters `[n, d]` and the statistics `[n, s]`.
    """
    run = _compiled(prior, simulator)
    parts = [run(key, jnp.arange(i, min(i + at_once, first + n))) for i in range(first, first + n, at_once)]
    theta, statistics = (np.concatenate([np.asarray(part[i]) for part in parts]) for i in range(2))
    return theta, statistics


def reject(
    prior: Prior,
    simulator: Simulator,
    distance: Distance,
    key: PRNGKeyArray,
    *,
    epsilon: float,
    draws: int,
    most: int = 10_000_000,
    at_once: int = 10_000,
) -> Posterior:
    r"""Draws of $p(\theta | d(s) \leq \varepsilon)$: those parameters whose simulation comes near enough to what was observed.

    For a statistic that says all of the data it tends to the posterior with $\varepsilon$; with counts, 0 gives it exactly.

    Args:
      prior: the prior.
      simulator: the simulator.
      distance: the distance from what was observed.
      key: a PRNG key.
      epsilon: the largest distance that is accepted, 0 or more.
      draws: the number of draws.
      most: the largest number of simulations.
      at_once: simulations that run at a time; the draws do not depend on it.

    Returns:
      The first so many accepted draws, of equal weights.

    Raises:
      InputError: if too few of the simulations are accepted, or none are asked for.

    Source: Pritchard et al. 1999; Beaumont et al. 2002.
    """
    if draws < 1 or most < 1:
        raise InputError(f"{draws} draws of at most {most} simulations are none; give 1 or more of both.")
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    found, done = 0, 0
    while found < draws and done < most:
        n = min(at_once, most - done)
        theta, statistics = simulate(prior, simulator, key, n, first=done, at_once=n)
        off = np.asarray(jax.vmap(distance)(jnp.asarray(statistics)))
        near = np.flatnonzero(off <= epsilon)
        kept.append((theta[near], statistics[near], off[near], done + near))
        found, done = found + len(near), done + n
    theta, statistics, off, order = (np.concatenate(of)[:draws] for of in zip(*kept, strict=True))
    if len(theta) < draws:
        raise InputError(
            f"Of {done:,} simulations {found:,} came within epsilon {epsilon:g} of what was observed, and {draws:,} draws were "
            "asked for; give a larger epsilon, fewer draws, more simulations (`most`), or keep a share (`nearest`)."
        )
    return Posterior(theta, statistics, off, _equal(draws), epsilon, int(order[-1]) + 1)


def nearest(
    prior: Prior,
    simulator: Simulator,
    distance: Distance,
    key: PRNGKeyArray,
    *,
    share: float,
    simulations: int,
    at_once: int = 10_000,
) -> Posterior:
    """The share of the simulations that came nearest to what was observed.

    Args:
      prior: the prior.
      simulator: the simulator.
      distance: the distance from what was observed.
      key: a PRNG key.
      share: the share that is kept, above 0 and at most 1.
      simulations: the number of simulations.
      at_once: simulations that run at a time; the draws do not depend on it.

    Returns:
      The draws, the nearest first, of equal weights; `epsilon` is the distance of the last.

    Raises:
      InputError: if the share keeps nothing, or a distance is not finite.

    Source: Beaumont et al. 2002, section 2.
    """
    count = round(share * simulations)
    if not 0 < count <= simulations:
        raise InputError(
            f"A share of {share:g} of {simulations:,} simulations is {count:,} of them; give one above 0, up to 1."
        )
    theta, statistics = simulate(prior, simulator, key, simulations, at_once=at_once)
    off = np.asarray(jax.vmap(distance)(jnp.asarray(statistics)))
    if not np.isfinite(off).all():
        raise InputError("A simulation has a distance that is not finite; let the simulator give finite statistics.")
    near = np.argsort(off, kind="stable")[:count]
    return Posterior(theta[near], statistics[near], off[near], _equal(count), float(off[near[-1]]), simulations)


def regression_adjusted(posterior: Posterior, observed: Float[np.ndarray, " s"]) -> Posterior:
    r"""The draws, moved to where they would be if their simulations had given what was observed, $\theta_i - B^\top (s_i - s)$.

    B is the slope of a weighted linear regression of the parameters on the statistics, with Epanechnikov's weights
    $1 - (d_i / \varepsilon)^2$. Where the parameters depend on the statistics linearly, a large $\varepsilon$ does no harm.

    Args:
      posterior: the draws.
      observed: the observed statistics s.

    Returns:
      The moved draws with these weights.

    Raises:
      InputError: if there are too few draws for the regression, or epsilon is 0.

    Source: Beaumont et al. 2002, section 3.
    """
    if not posterior.epsilon > 0:
        raise InputError("Draws at epsilon 0 are those of what was observed, and need no regression; take them as they are.")
    weight = posterior.weight * (1 - (posterior.distance / posterior.epsilon) ** 2)
    off = posterior.statistics - observed
    design = np.concatenate([np.ones((len(off), 1)), off], axis=1)
    if (weight > 0).sum() <= design.shape[1]:
        raise InputError(f"A regression on {off.shape[1]} statistics needs more than {(weight > 0).sum()} draws; accept more.")
    root = np.sqrt(weight)[:, None]
    slope = np.linalg.lstsq(root * design, root * posterior.theta, rcond=None)[0][1:]
    return posterior._replace(theta=posterior.theta - off @ slope, weight=weight / weight.sum())


def sequential(
    prior: Prior,
    log_prior: Callable[[Array], Array],
    simulator: Simulator,
    distance: Distance,
    key: PRNGKeyArray,
    *,
    epsilons: tuple[float, ...],
    draws: int,
    most: int = 10_000_000,
    at_once: int = 10_000,
) -> list[Posterior]:
    r"""Populations of draws with falling $\varepsilon$, each proposed from the one before: fewer simulations are in vain.

    A proposal is a draw of the population before with normal noise of twice that population's covariance. Its weight is
    $p(\theta) / \sum_j w_j K(\theta | \theta_j)$, which undoes the proposal.

    Args:
      prior: the prior, for the first population.
      log_prior: the log-density of the prior, `theta [d] -> []`; -inf where it is 0.
      simulator: the simulator.
      distance: the distance from what was observed.
      key: a PRNG key.
      epsilons: the largest accepted distances, descending, one a population.
      draws: the number of draws of each population.
      most: the largest number of simulations of a population.
      at_once: simulations that run at a time; the draws do not depend on it.

    Returns:
      The populations.

    Raises:
      InputError: if the epsilons do not descend, or too few simulations of a population are accepted.

    Source: Toni et al. 2009; Beaumont et al. 2009, for the covariance.
    """
    if draws < 2:
        raise InputError(f"The covariance of a population needs 2 draws or more, and not {draws}.")
    if not epsilons or any(after >= before for before, after in itertools.pairwise(epsilons)):
        raise InputError(f"The epsilons of the populations descend; got {epsilons}.")

    def within_prior(key: PRNGKeyArray, theta: Array) -> Array:
        # What the prior excludes is infinitely far from everything.
        return jnp.where(jnp.isfinite(log_prior(theta)), simulator(key, theta), jnp.inf)

    numbered = [jax.random.fold_in(key, i) for i in range(len(epsilons))]
    options = {"draws": draws, "most": most, "at_once": at_once}
    populations = [reject(prior, simulator, distance, numbered[0], epsilon=epsilons[0], **options)]
    for own, epsilon in zip(numbered[1:], epsilons[1:], strict=True):
        before = populations[-1]
        centres, weights = jnp.asarray(before.theta, jnp.float32), jnp.asarray(before.weight, jnp.float32)
        factor = jnp.asarray(np.linalg.cholesky(2 * before.covariance), jnp.float32)

        def propose(key: PRNGKeyArray, centres: Array = centres, weights: Array = weights, factor: Array = factor) -> Array:
            which, noise = jax.random.split(key)
            i = jax.random.choice(which, len(centres), p=weights)
            return centres[i] + factor @ jax.random.normal(noise, centres.shape[1:])

        def log_weight(theta: Array, centres: Array = centres, weights: Array = weights, factor: Array = factor) -> Array:
            z = jax.scipy.linalg.solve_triangular(factor, (theta - centres).T, lower=True)
            return log_prior(theta) - jax.nn.logsumexp(jnp.log(weights) - 0.5 * (z**2).sum(0))

        found = reject(propose, within_prior, distance, own, epsilon=epsilon, **options)
        logs = np.asarray(jax.lax.map(log_weight, jnp.asarray(found.theta)), np.float64)
        weight = np.exp(logs - logs.max())
        populations.append(found._replace(weight=weight / weight.sum()))
    return populations


@functools.lru_cache(maxsize=32)
def _compiled(prior: Prior, simulator: Simulator) -> Callable[[Array, Array], tuple[Array, Array]]:
    def one(key: PRNGKeyArray, number: Array) -> tuple[Array, Array]:
        of_prior, of_simulator = jax.random.split(jax.random.fold_in(key, number))
        theta = prior(of_prior)
        return theta, simulator(of_simulator, theta)

    return jax.jit(jax.vmap(one, in_axes=(None, 0)))


def _equal(n: int) -> np.ndarray:
    return np.full(n, 1 / n)
