"""Laws of the noise that a network is trained on, where it is not the schedule's own, which draws times evenly."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxgen import keys
from jaxgen.diffusion.continuous import Continuous
from jaxgen.diffusion.schedules import Level

Law = Callable[[Key[Array, "..."], int], Array]
"""`law(key, n) -> times [n]`, drawn with one key, or with a key for each, `[n]`."""


class Drawn(NamedTuple):
    """A schedule whose times are drawn by another law: a `NoiseSchedule`.

    Fields:
      schedule: the schedule, which says what the levels at a time are.
      law: the law of the times.
    """

    schedule: Continuous
    law: Law

    def draw(self, key: Key[Array, "..."], n: int) -> Float[Array, " n"]:
        """Times by the law."""
        return self.law(key, n)

    def level(self, t: Float[Array, "..."]) -> Level:
        """The levels at times t."""
        return self.schedule.level(t)


def log_normal(mean: float, std: float) -> Law:
    """Times whose logarithm is normal: of `time_is_sigma` the noise itself.

    Args:
      mean: the mean of the logarithm; the paper takes -1.2 for images.
      std: the standard deviation of the logarithm; the paper takes 1.2.

    Returns:
      The law.

    Source: Karras et al. 2022, table 1.
    """
    return lambda key, n: jnp.exp(mean + std * keys.draw(jax.random.normal, key, (n,)))


def logit_normal(mean: float = 0.0, std: float = 1.0) -> Law:
    r"""Times in (0, 1) whose logit is normal, so that the middle of a path is met more often than its ends.

    Args:
      mean: the mean of the logit.
      std: the standard deviation of the logit.

    Returns:
      The law.

    Source: Esser et al. 2024, equation 19.
    """
    return lambda key, n: jax.nn.sigmoid(mean + std * keys.draw(jax.random.normal, key, (n,)))


def among(times: Sequence[float] | np.ndarray) -> Law:
    """Times that are drawn from a few, each as often as the others.

    Args:
      times: the times.

    Returns:
      The law.

    Source: Liu et al. 2023, section 2.2, the distillation of a flow into k steps; the authors' code, `reflow_t_schedule`.
    """
    few = jnp.asarray(times, jnp.float32)
    return lambda key, n: few[keys.draw(lambda key, shape: jax.random.randint(key, shape, 0, len(few)), key, (n,))]
