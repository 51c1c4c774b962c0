"""A running average of what a network computes, kept next to its parameters."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.devices import collectives


class RunningMean(nn.Module):
    r"""The running average $m \leftarrow \gamma m + (1 - \gamma) \bar x$ of the batch means of vectors, from zero.

    The average lies in the collection `averages`. It is of the global batch, without the examples that only fill it up; so all
    replicas have the same. With gradient accumulation a step sees its batch as `micro_batches` parts: their sums are added up,
    and the average moves after the last.

    Fields:
      features: the length of the vectors.
      decay: the decay gamma.
      micro_batches: the number of micro-batches of a step, the `accumulate` of `make_train_step`.

    Source: Karras et al. 2019, appendix B, for the centre of the intermediate latents; the decay is that of the authors' code.
    """

    features: int
    decay: float = 0.995
    micro_batches: int = 1

    def setup(self) -> None:
        """Makes the average."""
        self.mean = self.variable("averages", "mean", jnp.zeros, (self.features,), jnp.float32)
        if self.micro_batches > 1:
            self.part = self.variable("averages", "part", jnp.zeros, (), jnp.int32)
            # The sum of the vectors, and behind it their number.
            self.total = self.variable("averages", "total", jnp.zeros, (self.features + 1,), jnp.float32)

    def __call__(self) -> Float[Array, " f"]:
        """The average as it is."""
        return self.mean.value

    def move(self, x: Float[Array, "b f"], mask: Float[Array, " b"] | None = None) -> None:
        """Moves the average.

        Args:
          x: the vectors of a batch.
          mask: a mask that is zero for the examples that only fill the batch up.
        """
        x = x.astype(jnp.float32)
        counted = jnp.ones((len(x), 1)) if mask is None else mask[:, None].astype(jnp.float32)
        total = collectives.total((counted * jnp.concatenate([x, jnp.ones_like(counted)], axis=1)).sum(0))
        ends = jnp.array(True)
        if self.micro_batches > 1:
            total = total + self.total.value
            ends = self.part.value == self.micro_batches - 1
            self.total.value = jnp.where(ends, 0.0, total)
            self.part.value = jnp.where(ends, 0, self.part.value + 1)
        mean = total[:-1] / jnp.maximum(total[-1], 1.0)
        moved = self.decay * self.mean.value + (1 - self.decay) * mean
        self.mean.value = jnp.where(jnp.logical_and(ends, total[-1] > 0), moved, self.mean.value)
