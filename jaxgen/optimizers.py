"""Learning rates over the steps of a training, and the bound on a gradient's norm."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgen.types import Array, PyTree, Schedule


def learning_rate(peak: float, *, steps: int, warmup: int = 0, cosine: bool = False, final: float = 0.0) -> Schedule:
    """A learning rate that rises along a line, and then stays or falls along a cosine.

    Args:
      peak: the highest rate.
      steps: the number of steps of the training, at whose end the cosine is at its lowest.
      warmup: the number of steps over which the rate rises from zero; 0 begins with the peak.
      cosine: whether the rate falls, over the steps that follow the warm-up.
      final: the rate that it falls to.

    Returns:
      The schedule, `step -> rate`.

    >>> rate = learning_rate(1.0, steps=10, warmup=2, cosine=True)
    >>> [round(float(rate(step)), 2) for step in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    after = (
        optax.cosine_decay_schedule(peak, max(steps - warmup, 1), alpha=final / peak)
        if cosine
        else optax.constant_schedule(peak)
    )
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup]) if warmup else after


def constant_then_linear(peak: float, *, steps: int, falls: int) -> Schedule:
    """A learning rate that stays, and falls to zero along a line over the last steps of a training.

    Args:
      peak: the rate at first.
      steps: the number of steps of the training, at whose end the rate is zero.
      falls: the number of steps over which it falls, at most all of them; 0 leaves the rate constant.

    Returns:
      The schedule, `step -> rate`.

    >>> rate = constant_then_linear(1.0, steps=10, falls=4)
    >>> [float(rate(step)) for step in (0, 6, 7, 9)]
    [1.0, 1.0, 0.75, 0.25]
    """
    falls = min(falls, steps)
    # Joined, and not one line that begins late: that one is compiled otherwise for another length, and a run that goes on with
    # more steps would differ in the last bit from one that had them from the beginning.
    line = optax.linear_schedule(peak, 0.0, falls)
    return optax.join_schedules([optax.constant_schedule(peak), line], [steps - falls])


def clipped(tx: optax.GradientTransformation, norm: float | None) -> optax.GradientTransformation:
    """An optimizer that sees gradients whose global norm is bounded.

    Args:
      tx: the optimizer.
      norm: the bound; None leaves the gradients as they are.

    Returns:
      The optimizer.
    """
    return tx if norm is None else optax.chain(optax.clip_by_global_norm(norm), tx)


class Restarted(NamedTuple):
    """The state of a `restarted` optimizer.

    Fields:
      updates: the number of updates.
      inner: the state of the optimizer.
    """

    updates: Array
    inner: PyTree


def restarted(tx: optax.GradientTransformation, at: Sequence[int]) -> optax.GradientTransformation:
    """An optimizer whose state begins anew before some of its updates, as where a growing network takes in new layers.

    Args:
      tx: the optimizer.
      at: the numbers of these updates, the first update being 0.

    Returns:
      The optimizer; of no numbers, the one that was given.

    Source: the code of Karras et al. 2018 (`reset_opt_for_new_lod`).

    >>> tx = restarted(optax.trace(decay=1.0), at=(2,))
    >>> state, moves = tx.init(jnp.zeros(())), []
    >>> for _ in range(4):
    ...     move, state = tx.update(jnp.ones(()), state)
    ...     moves.append(move.item())
    >>> moves
    [1.0, 2.0, 1.0, 2.0]
    """
    if not at:
        return tx

    def init(params: PyTree) -> Restarted:
        return Restarted(jnp.zeros((), jnp.int32), tx.init(params))

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        anew = (state.updates == jnp.array(at)).any()
        first = tx.init(updates if params is None else params)
        inner = jax.tree.map(lambda begun, now: jnp.where(anew, begun, now), first, state.inner)
        updates, inner = tx.update(updates, inner, params)
        return updates, Restarted(state.updates + 1, inner)

    return optax.GradientTransformation(init, update)
