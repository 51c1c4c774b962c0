r"""The probability-flow ODE of a continuous schedule, whose solutions have the same marginals as the diffusion.

In terms of predictions it is $\frac{dx}{dt} = \alpha'(t)\, \hat x_0(x, t) + \sigma'(t)\, \hat\epsilon(x, t)$, which equals the
paper's $f(t) x - \frac 1 2 g(t)^2 \nabla \log q_t(x)$ and needs no quotient that blows up (Song et al. 2021, equation 13).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxgen.diffusion import Continuous, Denoise
from jaxgen.samplers.sampler import Sampler, Samples, iterate

Drift = Callable[[Array, Array], Array]


def drift(schedule: Continuous, denoise: Denoise) -> Drift:
    """The right side of the probability-flow ODE, `(x, t) -> dx/dt`."""

    def slope(x: Array, t: Array) -> Array:
        x0, eps, _ = denoise(x, schedule.level(t))
        d_alpha, d_sigma = jax.grad(schedule.alpha)(t), jax.grad(schedule.sigma)(t)
        return d_alpha * x0 + d_sigma * eps

    return slope


def euler(schedule: Continuous, times: Sequence[float] | np.ndarray) -> Sampler:
    """Solves the ODE by Euler's method, whose error falls as 1 / steps.

    Args:
      schedule: alpha and sigma.
      times: descending from 1, where the noise starts, to the schedule's start; a network evaluation between two of them.

    Returns:
      The sampler. It draws nothing.

    Source: Song et al. 2021, section 4.3.
    """

    def advance(slope: Drift, x: Array, t: Array, s: Array) -> Array:
        return x + (s - t) * slope(x, t)

    return _solver(schedule, times, advance)


def heun(schedule: Continuous, times: Sequence[float] | np.ndarray) -> Sampler:
    """Solves the ODE by Heun's method, whose error falls as 1 / steps^2, with two network evaluations a step.

    Args:
      schedule: alpha and sigma.
      times: descending from 1, where the noise starts, to the schedule's start.

    Returns:
      The sampler. It draws nothing.

    Source: Karras et al. 2022, algorithm 1, here in t.
    """

    def advance(slope: Drift, x: Array, t: Array, s: Array) -> Array:
        here = slope(x, t)
        return x + (s - t) * 0.5 * (here + slope(x + (s - t) * here, s))

    return _solver(schedule, times, advance)


def _solver(
    schedule: Continuous, times: Sequence[float] | np.ndarray, advance: Callable[[Drift, Array, Array, Array], Array]
) -> Sampler:
    times = np.asarray(times)
    if (np.diff(times) >= 0).any():
        raise ValueError("the times of a solver descend, from noise to data")

    def sampler(denoise: Denoise, x_start: Array, key: PRNGKeyArray, *, trajectory: int = 0) -> Samples:
        grid = jnp.asarray(times, jnp.float32)
        slope = drift(schedule, denoise)

        def step(j: Array, x: Array) -> Array:
            return advance(slope, x, grid[j], grid[j + 1])

        return iterate(step, x_start, len(times) - 1, trajectory)

    return sampler
