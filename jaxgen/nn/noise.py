"""Noise that a network adds to its maps, each channel by a weight that it learns."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class NoiseInjection(nn.Module):
    r"""$x_{bhwc} + w_c\, n_{bhw}$, with one image of noise n for all channels of an example; the weights w start at zero.

    Source: Karras et al. 2019, section 2 and figure 1b ("B").

    Fields:
      dtype: the dtype of the result; the weights are float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], noise: Float[Array, "b h w 1"] | None) -> Float[Array, "b h w c"]:
        """Adds the noise; None adds none."""
        weight = self.param("weight", nn.initializers.zeros_init(), x.shape[-1:], jnp.float32)
        return x if noise is None else x + weight.astype(self.dtype) * noise.astype(self.dtype)
