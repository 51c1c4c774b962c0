"""Heun's method in the noise: EDM's sampler on a Gaussian, where it is a recursion of numbers, and its churn by hand."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture, wasserstein

from jaxgen import samplers
from jaxgen.diffusion import Continuous, Level, discretised, grids, linear, linear_path, time_is_sigma, variance_preserving
from jaxgen.errors import InputError

KEY = jax.random.key(0)
SIGMA = time_is_sigma(0.002, 80.0)
STD = 0.5


def gaussian(x: Any, level: Level) -> Any:
    return Mixture((0.0,), STD).denoise(x, level)


@pytest.mark.parametrize(("n", "expected"), [(9, 0.27814), (18, 0.05527), (36, 0.01221), (72, 0.00287), (144, 0.00069)])
def test_the_error_of_a_gaussians_spread_is_the_papers_algorithms(n: int, expected: float) -> None:
    """Karras et al. 2022, algorithm 1 with rho 7, from the marginal at 80: a linear recursion, computed apart in numpy."""
    chain = discretised(SIGMA, grids.karras(SIGMA, n))
    with jax.enable_x64(True):
        start = jnp.full((1, 1), math.hypot(80.0, STD))
        found = samplers.heun_in_noise(chain)(gaussian, start, KEY).x
    assert float(found[0, 0]) / STD - 1 == pytest.approx(expected, abs=6e-6)


def by_hand(chain: Any, x: float, churn: samplers.Churn, z: np.ndarray) -> float:
    """The paper's algorithm 2, in its words; alpha is 1."""
    t = [*chain.sigma[:0:-1], 0.0]
    n = chain.steps
    for i in range(n):
        gamma = min(churn.amount / n, math.sqrt(2) - 1) if churn.low <= t[i] <= churn.high else 0.0
        raised = t[i] + gamma * t[i]
        x = x + math.sqrt(raised**2 - t[i] ** 2) * churn.inflation * z[i]
        slope = lambda x, s: (x - x * STD**2 / (STD**2 + s**2)) / s
        d = slope(x, raised)
        step = x + (t[i + 1] - raised) * d
        x = step if t[i + 1] == 0 else x + (t[i + 1] - raised) * (d + slope(step, t[i + 1])) / 2
    return x


@pytest.mark.parametrize("churn", [samplers.Churn(40.0, 0.05, 50.0, 1.003), samplers.Churn(2.0), samplers.Churn(0.0)])
def test_churn_is_the_papers(churn: samplers.Churn) -> None:
    chain = discretised(SIGMA, grids.karras(SIGMA, 18))
    sampler = samplers.heun_in_noise(chain, churn=churn, schedule=SIGMA)
    z = np.array([jax.random.normal(jax.random.fold_in(KEY, j), (1, 1))[0, 0] for j in range(18)])
    found = sampler(gaussian, jnp.full((1, 1), 57.0), KEY).x
    assert float(found[0, 0]) == pytest.approx(by_hand(chain, 57.0, churn, z), rel=3e-4)


@pytest.mark.parametrize(
    "schedule", [SIGMA, variance_preserving(), linear_path(start=2e-3, end=0.999)], ids=["sigma", "vp", "flow"]
)
def test_samples_with_churn_are_of_the_law_under_any_schedule(schedule: Continuous) -> None:
    law = Mixture((-1.0, 0.5), 0.2)
    chain = discretised(schedule, grids.karras(schedule, 40))
    sampler = samplers.heun_in_noise(chain, churn=samplers.Churn(10.0), schedule=schedule)
    x = samplers.noise(jax.random.key(1), (4000, 1), chain.level(chain.steps))
    found = jax.jit(lambda x: sampler(law.denoise, x, KEY).x)(x)
    assert wasserstein(found, law) < 0.03


def test_levels_that_are_not_known_are_refused() -> None:
    with pytest.raises(InputError, match="its inverse"):
        samplers.heun_in_noise(linear(10), churn=samplers.Churn(5.0))
    without = linear_path(start=0.1, end=0.9)._replace(time_of=None)
    with pytest.raises(InputError, match="its inverse"):
        samplers.heun_in_noise(discretised(without, [0.1, 0.9]), churn=samplers.Churn(5.0), schedule=without)
    with pytest.raises(InputError, match="nothing is left of the data"):
        samplers.heun_in_noise(discretised(linear_path(), [0.5, 1.0]))


def test_the_last_step_evaluates_nothing_at_the_data() -> None:
    """2 N - 1 evaluations, none of them without noise."""
    seen = []

    def denoise(x: Any, level: Level) -> Any:
        jax.debug.callback(lambda s: seen.append(float(s)), level.sigma)
        return gaussian(x, level)

    samplers.heun_in_noise(discretised(SIGMA, grids.karras(SIGMA, 5)))(denoise, jnp.ones((1, 1)), KEY).x.block_until_ready()
    jax.effects_barrier()
    assert len(seen) == 9
    assert min(seen) == pytest.approx(0.002)
