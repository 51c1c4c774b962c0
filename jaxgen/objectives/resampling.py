r"""Steps of a chain drawn where the loss is large: a law that changes with the losses that were met in training."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxgen import keys
from jaxgen.devices import collectives
from jaxgen.types import Key


class SecondMoment(NamedTuple):
    r"""Importance sampling of the steps by their losses, $p_t \propto \sqrt{E L_t^2}$, mixed with a little of the uniform law.

    The expectation is over the last losses at each step. Until every step has as many, steps are uniform. Divided by $T p_t$
    the loss keeps its mean, and has the least variance.

    The history is a variable of the training state, `{"losses": [T, history], "counts": [T]}`. The replicas of `pmap` gather
    their losses, so that each has the history of the global batch: its rule is `jaxgen.game.merging.same`. Micro-batches write
    it one after another, as in the authors' code, and the later ones draw by what the earlier ones have left.

    Fields:
      steps: the number T of steps.
      history: the number of losses of each step that are kept.
      uniform: the share of the uniform law.

    Source: Nichol & Dhariwal 2021, section 3.3 and equation 18; the authors' code (`LossSecondMomentResampler`).

    >>> law = SecondMoment(2, history=1, uniform=0.0)
    >>> after = law.noted(law.empty(), jnp.array([1, 2]), jnp.array([3.0, 1.0]))
    >>> law.probabilities(after).tolist()
    [0.75, 0.25]
    """

    steps: int
    history: int = 10
    uniform: float = 0.001

    def empty(self) -> dict[str, Array]:
        """A history without losses, as a state's variable."""
        return {
            "losses": jnp.zeros((self.steps, self.history), jnp.float32),
            "counts": jnp.zeros(self.steps, jnp.int32),
        }

    def probabilities(self, history: Mapping[str, Any]) -> Float[Array, " t"]:
        """The law of the steps 1 ... T by a history."""
        # Relative to the largest, so that no square of a loss overflows.
        losses = history["losses"] / jnp.maximum(jnp.abs(history["losses"]).max(), jnp.finfo(jnp.float32).tiny)
        size = jnp.sqrt((losses**2).mean(1))
        law = (1 - self.uniform) * size / jnp.maximum(size.sum(), jnp.finfo(jnp.float32).tiny) + self.uniform / self.steps
        known = (history["counts"] >= self.history).all() & (size.sum() > 0)
        return jnp.where(known, law, 1 / self.steps)

    def draw(self, history: Mapping[str, Any], key: Key, n: int) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
        """Draws steps.

        Args:
          history: the history of the losses.
          key: one key, or a key for each example, `[n]`.
          n: the number of steps to draw.

        Returns:
          Steps from 1 ... T, and the weights $1 / (T p_t)$ of their losses.
        """
        law = self.probabilities(history)
        place = keys.draw(jax.random.uniform, key, (n,))
        index = jnp.searchsorted(jnp.cumsum(law), place, side="right").clip(0, self.steps - 1)
        return index + 1, 1 / (self.steps * law[index])

    def noted(
        self, history: Mapping[str, Any], t: Int[Array, " b"], losses: Float[Array, " b"], mask: Array | None = None
    ) -> dict[str, Array]:
        """Puts losses into a history, where the oldest ones of their steps give way.

        Args:
          history: the history before.
          t: the steps of the examples, from 1 ... T.
          losses: the losses of the examples, without a weight; no gradient goes through the history.
          mask: a mask `[B]` that is 0 for padding, whose losses are not kept.

        Returns:
          The history after the whole batch, on all replicas the same.
        """
        real = jnp.ones(t.shape, bool) if mask is None else mask.astype(bool)
        t, losses, real = (collectives.gather(x) for x in (t, lax.stop_gradient(losses), real))
        row = jnp.where(real, t - 1, self.steps)
        # A ring for each step: the order within it does not matter. Where a batch has more losses of one step than the ring
        # holds, the last ones stay.
        same = row[:, None] == row[None, :]
        before = jnp.tril(same, -1).sum(1)
        counts = history["counts"]
        column = (counts[jnp.minimum(row, self.steps - 1)] + before) % self.history
        stays = same.sum(1) - before <= self.history
        kept = history["losses"].at[jnp.where(stays, row, self.steps), column].set(losses, mode="drop")
        total = counts + jnp.zeros_like(counts).at[row].add(1, mode="drop")
        # Only the place in the ring counts, and whether the ring is full.
        return {"losses": kept, "counts": jnp.where(total < self.history, total, self.history + total % self.history)}
