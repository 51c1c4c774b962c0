"""A fully connected denoiser, for points."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.nn import Embed, Sinusoidal


class MLP(nn.Module):
    """Residual layers, each modulated by the time.

    Fields:
      width: the width of all layers.
      layers: the number of residual layers.
      time: embedding of the time, `[B] -> [B, F]`.
      classes: the number of labels, with one more for "unlabelled"; 0 for a model without labels.
      dtype: the dtype of the computation; the parameters are float32.
    """

    width: int = 128
    layers: int = 3
    time: nn.Module = Sinusoidal(64)
    classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *event"],
        time: Float[Array, " b"],
        label: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b *event"]:
        """Predicts from noisy examples of any shape."""
        condition = jax.nn.swish(nn.Dense(self.width, dtype=self.dtype)(self.time(time).astype(self.dtype)))
        if self.classes:
            condition = condition + Embed(self.classes + 1, self.width, dtype=self.dtype)(label)
        flat = x.reshape(len(x), -1)
        h = nn.Dense(self.width, dtype=self.dtype)(flat.astype(self.dtype))
        for _ in range(self.layers):
            scale, shift = jnp.split(nn.Dense(2 * self.width, dtype=self.dtype)(condition), 2, axis=-1)
            y = nn.Dense(self.width, dtype=self.dtype)(jax.nn.swish(h))
            y = jax.nn.swish(y * (1 + scale) + shift)
            h = h + nn.Dense(self.width, dtype=self.dtype)(y)
        # At zero, so that training starts from the loss of a constant.
        out = nn.Dense(flat.shape[-1], kernel_init=nn.initializers.zeros_init(), dtype=self.dtype)(jax.nn.swish(h))
        return out.reshape(x.shape)
