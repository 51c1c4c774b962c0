"""Channels that are scaled by what the whole map holds."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class SqueezeExcite(nn.Module):
    r"""Squeeze and excitation, $x \cdot \sigma(W_2\, \mathrm{relu}(W_1 \bar x))$ with the mean $\bar x$ over the pixels.

    Source: Hu et al. 2018, equations 2 to 4.

    Fields:
      ratio: the factor by which the layer between has fewer units than there are channels.
      least: the least number of its units.
      kernel_init: the initializer of both kernels.
      dtype: the dtype of the computation; the parameters are float32.
    """

    ratio: int = 16
    least: int = 4
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Scales the channels of each example."""
        channels = x.shape[-1]
        mean = x.astype(jnp.float32).mean((1, 2)).astype(self.dtype)
        units = max(channels // self.ratio, self.least)
        h = nn.relu(nn.Dense(units, kernel_init=self.kernel_init, dtype=self.dtype)(mean))
        scale = nn.sigmoid(nn.Dense(channels, kernel_init=self.kernel_init, dtype=self.dtype)(h))
        return x * scale[:, None, None]
