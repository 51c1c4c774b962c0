"""Adaptive augmentation of what a discriminator sees: the probability of each change follows how far it overfits."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.devices import collectives
from jaxgen.losses.adversarial import per_example
from jaxgen.types import Key

Pipe = Callable[[Key, Float[Array, "b h w c"], Float[Array, ""]], Float[Array, "b h w c"]]
"""`pipe(keys [B], x [B, h, w, c], p) -> x`: an augmentation whose changes happen with probability p."""


class Adaptive(NamedTuple):
    r"""A pipe of augmentations, and the rule by which its probability p changes in training.

    A discriminator that knows the examples by heart is sure of all of them, $r_t = E[\mathrm{sign}(D(x))] = 1$; one that does
    not is as often wrong as right, and $r_t = 0$. Whenever `interval` steps are over, p grows by the number of images that were
    seen in them, divided by `images`, if $r_t$ of them is above the target; below it p falls by as much, down to 0.

    Its memory is a variable of the training state, `{"p", "signs", "count", "since"}`: the probability, the sum of signs and
    the number of images since the last change, and the step of this change. The replicas of `pmap` add up what they saw, so
    that each keeps the same: its rule is `jaxgen.game.merging.same`. Micro-batches add to it one after another, and p moves at
    the beginning of a step, so all micro-batches and both players' turns of a step have one p.

    Fields:
      pipe: the pipe.
      target: the $r_t$ that is aimed at.
      interval: the number of steps after which p changes.
      images: the number of images in which p can grow from 0 to 1.

    Source: Karras et al. 2020 (Training generative adversarial networks with limited data), section 3 and equation 1; p is not
    bounded from above, as in the authors' code (github.com/NVlabs/stylegan2-ada-pytorch, training/training_loop.py).

    >>> rule = Adaptive(lambda key, x, p: x, interval=1, images=8)
    >>> after = rule.noted(rule.begun(), jnp.array([3.0, 2.0]))
    >>> rule.moved(after, jnp.int32(1))["p"].item()
    0.25
    """

    pipe: Pipe
    target: float = 0.6
    interval: int = 4
    images: int = 500_000

    def begun(self) -> dict[str, Array]:
        """The memory at the start, with p = 0, as a state's variable."""
        return {"p": jnp.zeros(()), "signs": jnp.zeros(()), "count": jnp.zeros(()), "since": jnp.zeros((), jnp.int32)}

    def moved(self, kept: Mapping[str, Any], step: Array) -> dict[str, Array]:
        """The memory at the beginning of a step: if an interval is over, p has moved, and the sums begin anew.

        Args:
          kept: the memory before.
          step: the number of the step, from 0.

        Returns:
          The memory. Within a step p moves once, however often this is called.
        """
        due = step - kept["since"] >= self.interval
        sign = jnp.sign(kept["signs"] / jnp.maximum(kept["count"], 1) - self.target)
        p = jnp.maximum(kept["p"] + sign * kept["count"] / self.images, 0)
        after = {"p": p, "signs": jnp.zeros(()), "count": jnp.zeros(()), "since": jnp.asarray(step, jnp.int32)}
        return {name: jnp.where(due, new, kept[name]) for name, new in after.items()}

    def noted(self, kept: Mapping[str, Any], logits: Float[Array, "b *map"], mask: Array | None = None) -> dict[str, Array]:
        """The memory after a batch of examples was judged.

        Args:
          kept: the memory before.
          logits: the discriminator's logits of the augmented examples, or maps of them, which count by their means.
          mask: a mask `[B]` that is 0 for padding.

        Returns:
          The memory, on all replicas the same; no gradient goes through it.
        """
        signs = per_example(jnp.sign(lax.stop_gradient(logits)).astype(jnp.float32))
        there = jnp.ones(signs.shape) if mask is None else mask.astype(jnp.float32)
        added = collectives.total({"signs": (signs * there).sum(), "count": there.sum()})
        return {**kept, **{name: kept[name] + more for name, more in added.items()}}
