"""The cheapest chain of a length, against all chains of that length; its costs, against the bound of Gaussian data."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture

from jaxgen.diffusion import analytic_variance, from_betas, linear, optimal_chain, spaced, subsequence
from jaxgen.diffusion.optimal_chain import cheapest_steps, transition_costs
from jaxgen.distributions import Normal
from jaxgen.errors import SizeError
from jaxgen.objectives import variational_bound

CHAIN = from_betas(np.linspace(0.01, 0.3, 10))
C2 = 0.37
POWER = np.append(1.0, CHAIN.sigma[1:] ** 2 / (CHAIN.alpha[1:] ** 2 * C2 + CHAIN.sigma[1:] ** 2))
"""The power of the noise that the exact model of N(0, C2) predicts."""


@pytest.mark.parametrize("steps", [[1, 10], [1, 4, 7, 10], list(range(1, 11))], ids=len)
def test_the_costs_are_the_transitions_of_the_bound(steps: list[int]) -> None:
    chain = subsequence(CHAIN, steps)
    denoise = Mixture((0.0,), float(np.sqrt(C2))).denoise
    x0 = np.sqrt(C2) * np.random.default_rng(0).normal(size=(20_000, 3))
    bound = jax.jit(
        lambda x: (
            variational_bound(
                denoise, chain, x, jax.random.key(0), variance=analytic_variance(CHAIN, POWER), decoder=Normal
            ).transitions
        )
    )(jnp.asarray(x0, jnp.float32))
    costs = transition_costs(CHAIN, POWER)
    expected = 3 * sum(costs[s, t] for s, t in itertools.pairwise(steps))
    assert float(bound.mean()) == pytest.approx(expected, abs=4 * float(bound.std()) / np.sqrt(20_000) + 1e-3)


def test_only_ways_down_to_step_one_have_a_cost() -> None:
    costs = transition_costs(CHAIN, POWER)
    finite = np.isfinite(costs)
    assert (finite == (np.triu(np.ones((11, 11)), 1) * (np.arange(11) > 0)[:, None]).astype(bool)).all()
    assert (costs[finite] > 0).all()


@pytest.mark.parametrize("steps", range(2, 9))
def test_the_path_is_the_cheapest_of_all(steps: int) -> None:
    costs = np.random.default_rng(steps).uniform(0.1, 1.0, (9, 9))
    costs = np.where((np.arange(9)[:, None] < np.arange(9)) & (np.arange(9)[:, None] > 0), costs, np.inf)

    def cost(path: tuple[int, ...]) -> float:
        return sum(costs[s, t] for s, t in itertools.pairwise(path))

    paths = [(1, *middle, 8) for middle in itertools.combinations(range(2, 8), steps - 2)]
    assert tuple(cheapest_steps(costs, steps)) == min(paths, key=cost)


def test_the_optimal_chain_costs_no_more_than_an_even_one() -> None:
    long = linear(200)
    power = np.append(1.0, long.sigma[1:] ** 2 / (long.alpha[1:] ** 2 * C2 + long.sigma[1:] ** 2))
    costs = transition_costs(long, power)
    for steps in (2, 10, 50, 200):
        found, even = (
            chain.time.astype(int)[1:] for chain in (optimal_chain(long, power, steps), spaced(long, steps, first=True))
        )
        assert len(found) == len(even) == steps
        assert found[0] == even[0] == 1
        assert found[-1] == even[-1] == 200
        total = [sum(costs[s, t] for s, t in itertools.pairwise(path)) for path in (found, even)]
        assert total[0] < total[1] if 2 < steps < 200 else total[0] == total[1]


@pytest.mark.parametrize("steps", [0, 1, 11])
def test_lengths_that_no_path_has_are_refused(steps: int) -> None:
    with pytest.raises(SizeError, match="from 2 to 10"):
        optimal_chain(CHAIN, POWER, steps)


def test_a_step_that_was_measured_wrong_is_no_way_out() -> None:
    """A power above 1 says that all of the data is known, from where a transition of any length would cost nothing."""
    wrong = POWER.copy()
    wrong[6] = 1.001
    costs, right = transition_costs(CHAIN, wrong), transition_costs(CHAIN, POWER)
    assert (costs[1:6, 6] > 0.5 * right[1:6, 6]).all()
    others = np.arange(11) != 6
    np.testing.assert_array_equal(costs[:, others], right[:, others])
