"""The power of the noise that a network predicts, summed up over examples: a network of statistics that has no parameters."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class NoisePower(nn.Module):
    r"""Sums of $\|\hat\epsilon(x_t)\|^2 / D$ by the step t, and how many there are.

    The collection is `power`: `total` and `count`, both `[T + 1]`. A player names its rule, `merge={"power": merging.total}`.

    Attributes:
      steps: the number of steps T.
    """

    steps: int

    @nn.compact
    def __call__(self, t: Int[Array, " b"], power: Float[Array, " b"], *, train: bool = False) -> Float[Array, " b"]:
        r"""The mean power $\Gamma_t$ at some steps, with that of the examples added if these are trained on.

        Args:
          t: steps of the chain, from 0 to T, `[B]`.
          power: the power of the noise that was predicted at each, `[B]`.
          train: whether it is added.

        Returns:
          The means at these steps, `[B]`; 1 at step 0, where there is no noise, and at steps without an example.
        """
        total = self.variable("power", "total", jnp.zeros, self.steps + 1)
        count = self.variable("power", "count", jnp.zeros, self.steps + 1)
        if train and not self.is_initializing():
            total.value = total.value.at[t].add(power)
            count.value = count.value.at[t].add(1.0)
        return jnp.where(count.value > 0, total.value / jnp.maximum(count.value, 1.0), 1.0)[t]
