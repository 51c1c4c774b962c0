"""Ordinary differential equations by steps that adapt to the error, each example's to its own.

The method is that of Dormand and Prince, of orders 5 and 4, with the step control of SciPy's `RK45`. It runs once for each
example: one error over a batch, as in the authors' code, would let a sample depend on the others. A batch takes as long as the
example that needs most steps.

It is written out because `jax.experimental.ode.odeint` steps over the last time and comes back by interpolation: it asks a
schedule for levels that it does not have, and its last state is less exact than its steps. Gradients in reverse mode do not
pass through the loop.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray

from jaxgen.diffusion import Continuous, Denoise
from jaxgen.errors import InputError
from jaxgen.samplers.ode import drift
from jaxgen.samplers.sampler import Sampler, Samples

NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""Weights of the slopes before, by stage; the last stage is the solution of order 5, and the next step's first."""
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""Weights of all slopes in the difference of the solutions of orders 5 and 4. Source: Dormand & Prince 1980."""
SAFETY, LEAST, MOST = 0.9, 0.2, 10.0
"""The factors of the next step: one that always counts, the least and the most. Source: Hairer et al. 1993, section II.4."""


def solve(
    slope: Callable[..., Any],
    start: Any,
    times: Sequence[float] | np.ndarray,
    *given: Any,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Any:
    r"""The solutions of $dy / dt = f(y, t)$ for a batch of examples, within tolerances of each.

    Args:
      slope: the function f, `slope(y, t, *given) -> dy/dt` of batches `[B, ...]`, or trees of them, and of one time. It is
        called for one example at a time, under `vmap`.
      start: the states at the first time, `[B, ...]` or a tree of such arrays.
      times: two times or more, ascending or descending.
      *given: further arguments of the slope, arrays `[B, ...]` that belong to the examples.
      rtol: the relative tolerance of a step's error. The error is the root of the mean of squares over an example's numbers.
      atol: the absolute tolerance.

    Returns:
      The states at all times, `[B, K, ...]`; NaN from where no step was short enough, as where the slope is not finite.

    Raises:
      InputError: if the times do not run one way.

    >>> ends = solve(lambda y, t: -y, jnp.array([[1.0], [2.0]]), [0.0, 1.0])[:, -1, 0]
    >>> bool(jnp.allclose(ends, jnp.exp(-1.0) * jnp.array([1.0, 2.0]), rtol=1e-4))
    True
    """
    grid = np.asarray(times, np.float64)
    sign = 1.0 if grid[-1] > grid[0] else -1.0
    if len(grid) < 2 or (sign * np.diff(grid) <= 0).any():
        raise InputError(f"A solver's times ascend or descend, two of them or more; got {grid.tolist()}.")

    def one(y: Any, *own: Any) -> Any:
        flat, whole = ravel_pytree(y)

        def rate(flat: Array, t: Array) -> Array:
            batch, known = jax.tree.map(lambda a: a[None], (whole(flat), own))
            return sign * ravel_pytree(jax.tree.map(lambda a: a[0], slope(batch, sign * t, *known)))[0]

        return jax.vmap(whole)(_states(rate, flat, jnp.asarray(sign * grid, flat.dtype), rtol, atol))

    return jax.vmap(one)(start, *given)


def _states(rate: Callable[[Array, Array], Array], y: Array, times: Array, rtol: float, atol: float) -> Array:
    """The states of one example at times that ascend, `[K, n]`."""

    def size(error: Array, *states: Array) -> Array:
        scale = atol + rtol * functools.reduce(jnp.maximum, map(jnp.abs, states))
        return jnp.sqrt(jnp.mean((error / scale) ** 2))

    nodes, error_weights = (jnp.asarray(of, y.dtype) for of in (NODES, ERROR))
    weights = jnp.asarray([(*of, *[0.0] * (len(NODES) - len(of))) for of in STAGES], y.dtype)

    def attempt(t: Array, y: Array, f: Array, h: Array, end: Array) -> tuple[Array, Array, Array]:
        def combined(of: Array, slopes: Array) -> Array:
            return h * jnp.sum(of[:, None] * slopes, axis=0)

        def stage(i: Array, slopes: Array) -> Array:
            return slopes.at[i].set(rate(y + combined(weights[i], slopes), jnp.minimum(t + nodes[i] * h, end)))

        # A loop, so that the slope is compiled once.
        slopes = jax.lax.fori_loop(1, len(NODES), stage, jnp.zeros((len(NODES), len(y)), y.dtype).at[0].set(f))
        new = y + combined(weights[-1], slopes)
        return new, slopes[-1], size(combined(error_weights, slopes), y, new)

    def to(carry: tuple[Array, ...], end: Array) -> tuple[tuple[Array, ...], Array]:
        def step(carry: tuple[Array, ...]) -> tuple[Array, ...]:
            t, y, f, h = carry
            last = h >= end - t
            own = jnp.where(last, end - t, h)
            new, slope, error = attempt(t, y, f, own, end)
            good = error <= 1  # an error that is no number is not
            factor = jnp.where(error == 0, MOST, jnp.clip(SAFETY * error**-0.2, LEAST, MOST))
            factor = jnp.where(jnp.isnan(error), LEAST, jnp.where(good, factor, jnp.minimum(factor, 1.0)))
            # A step that was cut short to end in time does not shorten those after it.
            h = jnp.where(good & last, jnp.maximum(h, factor * own), factor * own)
            moved = (jnp.where(last, end, t + own), new, slope)
            t, y, f = (jnp.where(good, a, b) for a, b in zip(moved, (t, y, f), strict=True))
            stuck = (t < end) & ~(h > 10 * jnp.finfo(t.dtype).eps * jnp.abs(t))  # too short, or no number
            return jnp.where(stuck, end, t), jnp.where(stuck, jnp.nan, y), f, h

        carry = jax.lax.while_loop(lambda carry: carry[0] < end, step, carry)
        return carry, carry[1]

    # A first step that is short, and grows: the first guess of Hairer et al. 1993, section II.4.
    t, f = times[0], rate(y, times[0])
    d0, d1 = size(y, y), size(f, y)
    h = jnp.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1)
    carry: tuple[Array, ...] = (t, y, f, h)
    _, states = jax.lax.scan(to, carry, times[1:])
    return jnp.concatenate([y[None], states])


def dopri5(schedule: Continuous, *, rtol: float = 1e-5, atol: float = 1e-5, denoise_last: bool = True) -> Sampler:
    """Solves the probability-flow ODE from the schedule's end to its start, with steps as long as the tolerances allow.

    Args:
      schedule: alpha, sigma and the times of both ends.
      rtol: the relative tolerance.
      atol: the absolute tolerance.
      denoise_last: whether to finish with the mean of the data given the last state, which takes the last noise off.

    Returns:
      The sampler. It draws nothing; its trajectory is evenly spaced in time.

    Source: Song et al. 2021, section 4.3 and appendix D.4.
    """

    def sampler(denoise: Denoise, x_start: Array, key: PRNGKeyArray, *, trajectory: int = 0) -> Samples:
        if trajectory == 1:
            raise ValueError("a trajectory has two states at least, the first and the last")
        times = np.linspace(schedule.end, schedule.start, trajectory or 2)
        states = jnp.moveaxis(solve(drift(schedule, denoise), x_start, times, rtol=rtol, atol=atol), 1, 0)
        if denoise_last:
            states = states.at[-1].set(denoise(states[-1], schedule.level(jnp.float32(schedule.start))).x0)
        return Samples(states[-1], states if trajectory else None)

    return sampler
