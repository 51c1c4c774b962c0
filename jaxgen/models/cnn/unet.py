"""A small U-Net that gives the class of every pixel."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn import BOX, Conv, GroupNorm, ResidualBlock, doubled, halved


class SegmentationUNet(nn.Module):
    """Images to the logits of each pixel's class: residual blocks at sides that are halved and doubled again, with skips.

    Source: Ronneberger et al. 2015, figure 1; the residual blocks, and borders that are kept, are ours.

    Fields:
      classes: the number of classes.
      width: the channels at the full side; they double with each halving.
      halvings: the number of times that the side is halved; an odd side is rounded up.
      dtype: the dtype of the computation; the parameters are float32.
    """

    classes: int
    width: int = 8
    halvings: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """The logits, in float32; training changes nothing."""
        h = Conv(self.width, (3, 3), dtype=self.dtype)(x)
        skips = []
        for i in range(self.halvings):
            h = ResidualBlock(self.width * 2**i, dtype=self.dtype)(h)
            skips.append(h)
            h = halved(h, BOX)
        h = ResidualBlock(self.width * 2**self.halvings, dtype=self.dtype)(h)
        for i in reversed(range(self.halvings)):
            skip = skips[i]
            up = doubled(h, BOX)[:, : skip.shape[1], : skip.shape[2]]
            h = ResidualBlock(self.width * 2**i, dtype=self.dtype)(jnp.concatenate([skip, up], axis=-1))
        return Conv(self.classes, (1, 1), dtype=self.dtype)(jax.nn.swish(GroupNorm(dtype=self.dtype)(h))).astype(jnp.float32)
