r"""Heun's method in the noise itself, with two network evaluations a step, and with noise that is put back before each.

In $y = x / \alpha$ and $s = \sigma / \alpha$ the probability-flow ODE is $dy / ds = \hat\epsilon$.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxgen.diffusion import Continuous, Denoise, Discrete, Level
from jaxgen.diffusion.continuous import on_host
from jaxgen.errors import InputError
from jaxgen.samplers.sampler import Sampler, Samples, iterate
from jaxgen.samplers.tables import Levels, ends, starts


class Churn(NamedTuple):
    r"""New noise before each step, which mends errors of the steps before.

    Fields:
      amount: the amount $S_\mathrm{churn}$ over all steps; 0 is none.
      low: the least noise $\sigma / \alpha$ at which it is added.
      high: the most noise at which it is added.
      inflation: the factor of the new noise, a little above 1 against predictions that take off too much.

    Source: Karras et al. 2022, algorithm 2 and table 5.
    """

    amount: float
    low: float = 0.0
    high: float = math.inf
    inflation: float = 1.0


def heun_in_noise(chain: Discrete, *, churn: Churn | None = None, schedule: Continuous | None = None) -> Sampler:
    r"""Heun's method between the levels of a chain; the last step, to the data, is Euler's.

    With churn a step from s begins at $\hat s = (1 + \gamma) s$ with $\gamma = \min(S_\mathrm{churn} / N, \sqrt 2 - 1)$, after
    noise of the variance $\hat s^2 - s^2$ was added.

    Args:
      chain: the chain of N steps; 2 N - 1 network evaluations.
      churn: new noise before each step; None is none, and then nothing is drawn.
      schedule: the schedule of the chain, with its inverse, which says what the levels between are. Churn alone needs it.

    Returns:
      The sampler.

    Raises:
      InputError: if there is churn, and the levels between those of the chain are not known, or a level has no data.

    Source: Karras et al. 2022, algorithms 1 and 2.
    """
    if not (chain.alpha > 0).all():
        raise InputError("At a level at which nothing is left of the data the noise is infinite; end a little below it.")
    here, following = starts(chain), ends(chain)
    start = here if churn is None else _churned(here, churn, schedule)
    noise, raised, goal = (of.sigma / of.alpha for of in (here, start, following))
    added = (1.0 if churn is None else churn.inflation) * np.sqrt(np.maximum(raised**2 - noise**2, 0.0))

    def sampler(denoise: Denoise, x_start: Array, key: PRNGKeyArray, *, trajectory: int = 0) -> Samples:
        dtype = x_start.dtype
        before, first, second, s, to, more = jax.tree.map(
            lambda a: jnp.asarray(a, dtype), (here, start, following, raised, goal, added)
        )

        def slope(y: Array, levels: Levels, j: Array) -> Array:
            level = Level(*(of[j] for of in levels))
            return denoise(level.alpha * y, level).eps

        def step(j: Array, x: Array) -> Array:
            y = x / before.alpha[j]
            if added.any():
                y = y + more[j] * jax.random.normal(jax.random.fold_in(key, j), x.shape, dtype)
            h = to[j] - s[j]
            rate = slope(y, first, j)
            euler = y + h * rate
            # Without noise there is no second evaluation: at the data the noise is not known.
            y = jax.lax.cond(to[j] > 0, lambda: y + 0.5 * h * (rate + slope(euler, second, j)), lambda: euler)
            return second.alpha[j] * y

        return iterate(step, x_start, chain.steps, trajectory)

    return sampler


def _churned(here: Levels, churn: Churn, schedule: Continuous | None) -> Levels:
    """The levels after the new noise was added."""
    if schedule is None or schedule.time_of is None:
        raise InputError("Churn begins a step between two levels of the chain; give a continuous schedule with its inverse.")
    noise = here.sigma / here.alpha
    within = (noise >= churn.low) & (noise <= churn.high)
    gamma = np.where(within, min(churn.amount / len(noise), math.sqrt(2) - 1), 0.0)
    times = on_host(schedule.time_of, -np.log(noise * (1 + gamma)))
    raised = Levels(times, *(on_host(of, times) for of in (schedule.alpha, schedule.sigma)))
    return Levels(*(np.where(gamma > 0, new, old) for new, old in zip(raised, here, strict=True)))
