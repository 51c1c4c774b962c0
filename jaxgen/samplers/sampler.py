"""The one signature of a sampler, and the loop that all of them run in."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgen.diffusion import Denoise, Level

Carry = TypeVar("Carry")


class Samples(NamedTuple):
    """The result of a sampler.

    Fields:
      x: the samples.
      trajectory: the k states on the way, evenly spaced from the start to the samples, or None.
    """

    x: Float[Array, "b *event"]
    trajectory: Float[Array, "k b *event"] | None


@runtime_checkable
class Sampler(Protocol):
    """`sampler(denoise, x_start, key, *, trajectory=k) -> Samples`.

    `x_start` is drawn by `noise`. Step s draws from `fold_in(key, s)`. A sampler is pure and compiles to one loop, whatever the
    number of steps; the states that are not asked for are not kept.
    """

    def __call__(self, denoise: Denoise, x_start: Array, key: PRNGKeyArray, *, trajectory: int = 0) -> Samples: ...


def noise(key: PRNGKeyArray, shape: tuple[int, ...], level: Level) -> Float[Array, "..."]:
    r"""The noise that a sampler starts from, all that is left of any data at the last level, $N(0, \sigma^2 I)$.

    Args:
      key: a PRNG key.
      shape: the shape of the noise, `[B, ...]`.
      level: the level of the most noise, `schedule.level(T)` or `schedule.level(1.0)`.

    Returns:
      A batch of noise.
    """
    return level.sigma * jax.random.normal(key, shape)


def iterate(
    step: Callable[[Any, Carry], Carry],
    start: Carry,
    steps: int,
    trajectory: int,
    *,
    view: Callable[[Any], Array] = lambda x: x,
) -> Samples:
    """Runs `carry = step(j, carry)` for j = 0 ... steps - 1 in one loop, and keeps evenly spaced states.

    Args:
      step: a function that makes one step.
      start: the first carry: the state, alone or with what else the method remembers.
      steps: the number of steps.
      trajectory: states to keep, the first and the last included; 0 keeps none.
      view: the function from a carry to its state.

    Returns:
      The last state, and those kept.

    Raises:
      ValueError: if a trajectory of one state is asked for.
    """
    if trajectory == 0:
        return Samples(view(lax.fori_loop(0, steps, step, start)), None)
    if trajectory == 1:
        raise ValueError("a trajectory has two states at least, the first and the last")
    bounds = np.round(np.linspace(0, steps, trajectory)).astype(np.int32)

    def segment(carry: Carry, bounds: tuple[Array, Array]) -> tuple[Carry, Array]:
        carry = lax.fori_loop(*bounds, step, carry)
        return carry, view(carry)

    last, states = lax.scan(segment, start, (jnp.asarray(bounds[:-1]), jnp.asarray(bounds[1:])))
    return Samples(view(last), jnp.concatenate([view(start)[None], states]))
