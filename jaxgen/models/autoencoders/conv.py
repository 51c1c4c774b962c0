"""Strided convolutional encoder and its mirror image."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn import Conv, ConvTranspose


class Encoder(nn.Module):
    """Images to features: 4x4 convolutions that halve the side, then a dense layer.

    Fields:
      channels: the numbers of channels of the convolutions.
      width: the width of the dense layer.
      activation: the activation function after each layer.
      remat: whether to recompute the feature maps in the backward pass to save memory.
      dtype: the dtype of the computation; the parameters are float32.
    """

    channels: tuple[int, ...] = (32, 64)
    width: int = 256
    activation: Callable[[Array], Array] = nn.relu
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b f"]:
        """Encodes `[B, H, W, C]` to `[B, width]`."""
        conv = nn.remat(Conv) if self.remat else Conv
        h = x
        for i, channels in enumerate(self.channels):
            h = self.activation(conv(channels, (4, 4), (2, 2), dtype=self.dtype, name=f"down{i}")(h))
        h = h.reshape(h.shape[0], -1)
        return self.activation(nn.Dense(self.width, dtype=self.dtype)(h))


class Decoder(nn.Module):
    """Codes to images: a dense layer, then 4x4 transposed convolutions that double the side.

    Fields:
      shape: the shape (H, W, C) of the output; a side that the doublings do not meet is cut to size.
      channels: the numbers of channels of the feature maps, the smallest map first.
      width: the width of the dense layer.
      activation: the activation function after each layer.
      remat: whether to recompute the feature maps in the backward pass to save memory.
      dtype: the dtype of the computation; the parameters are float32.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...] = (64, 32)
    width: int = 256
    activation: Callable[[Array], Array] = nn.relu
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b l"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """Decodes `[B, L]` to `[B, H, W, C]`."""
        grow = nn.remat(ConvTranspose) if self.remat else ConvTranspose
        height, width = (-(-side // 2 ** len(self.channels)) for side in self.shape[:2])
        h = self.activation(nn.Dense(self.width, dtype=self.dtype)(z))
        h = self.activation(nn.Dense(height * width * self.channels[0], dtype=self.dtype)(h))
        h = h.reshape(-1, height, width, self.channels[0])
        for i, channels in enumerate((*self.channels[1:], self.shape[2])):
            h = grow(channels, (4, 4), (2, 2), dtype=self.dtype, name=f"up{i}")(h)
            if i < len(self.channels) - 1:
                h = self.activation(h)
        return h[:, : self.shape[0], : self.shape[1]]
