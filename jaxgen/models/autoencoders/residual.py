"""Residual encoder and decoder: blocks of constant size between blocks that halve or double the side."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn import Conv, ResidualBlock


class Encoder(nn.Module):
    """Images to features.

    Fields:
      channels: the numbers of channels by level, the largest map first; each level after the first halves the side.
      blocks: residual blocks on a level.
      width: the width of the dense layer.
      remat: whether to recompute each block in the backward pass to save memory.
      dtype: the dtype of the computation; the parameters are float32.
    """

    channels: tuple[int, ...] = (32, 64, 64)
    blocks: int = 1
    width: int = 256
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b f"]:
        """Encodes `[B, H, W, C]` to `[B, width]`."""
        block = nn.remat(ResidualBlock) if self.remat else ResidualBlock
        h = Conv(self.channels[0], (3, 3), dtype=self.dtype)(x)
        for level, channels in enumerate(self.channels):
            if level > 0:
                h = block(channels, resize=-2, dtype=self.dtype, name=f"down{level}")(h)
            for i in range(self.blocks):
                h = block(channels, dtype=self.dtype, name=f"level{level}_{i}")(h)
        h = jax.nn.swish(h).reshape(h.shape[0], -1)
        return jax.nn.swish(nn.Dense(self.width, dtype=self.dtype)(h))


class Decoder(nn.Module):
    """Codes to images.

    Fields:
      shape: the shape (H, W, C) of the output; a side that the doublings do not meet is cut to size.
      channels: the numbers of channels by level, the smallest map first; each level after the first doubles the side.
      blocks: residual blocks on a level.
      remat: whether to recompute each block in the backward pass to save memory.
      dtype: the dtype of the computation; the parameters are float32.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...] = (64, 64, 32)
    blocks: int = 1
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b l"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """Decodes `[B, L]` to `[B, H, W, C]`."""
        block = nn.remat(ResidualBlock) if self.remat else ResidualBlock
        height, width = (-(-side // 2 ** (len(self.channels) - 1)) for side in self.shape[:2])
        h = nn.Dense(height * width * self.channels[0], dtype=self.dtype)(z)
        h = h.reshape(-1, height, width, self.channels[0])
        for level, channels in enumerate(self.channels):
            if level > 0:
                h = block(channels, resize=2, dtype=self.dtype, name=f"up{level}")(h)
            for i in range(self.blocks):
                h = block(channels, dtype=self.dtype, name=f"level{level}_{i}")(h)
        h = Conv(self.shape[2], (3, 3), dtype=self.dtype)(jax.nn.swish(h))
        return h[:, : self.shape[0], : self.shape[1]]
