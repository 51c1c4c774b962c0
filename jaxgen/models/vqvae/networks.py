"""The encoder and the decoder of the VQ-VAE, as its authors' code has them."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn import Conv, ConvTranspose


class ResidualStack(nn.Module):
    r"""Blocks $h \leftarrow h + f(h)$, f = (ReLU, 3x3 convolution, ReLU, 1x1 convolution); then a ReLU.

    Fields:
      blocks: the number of blocks.
      width: the number of channels between the two convolutions of a block.
      dtype: the dtype of the computation; the parameters are float32.

    Source: van den Oord et al. 2017, section 4.1; the last ReLU is that of the authors' code (Sonnet's VQ-VAE example).
    """

    blocks: int
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Maps a batch of feature maps."""
        for i in range(self.blocks):
            inner = Conv(self.width, (3, 3), dtype=self.dtype, name=f"conv3_{i}")(nn.relu(h))
            h = h + Conv(h.shape[-1], (1, 1), dtype=self.dtype, name=f"conv1_{i}")(nn.relu(inner))
        return nn.relu(h)


class Encoder(nn.Module):
    """Images to feature maps: 4x4 convolutions that halve the side, a 3x3 convolution, residual blocks.

    Source: van den Oord et al. 2017, section 4.1; the sizes by default are those of the authors' code for CIFAR-10.

    Fields:
      channels: the numbers of channels of the convolutions that halve the side, the largest map first.
      blocks: the number of residual blocks.
      width: the number of channels between the two convolutions of a block.
      dtype: the dtype of the computation; the parameters are float32.
      features: the channels of the 3x3 convolution and of the blocks; None is the last of `channels`.
      rectified: whether a ReLU follows the 3x3 convolution, before the blocks.
    """

    channels: tuple[int, ...] = (64, 128)
    blocks: int = 2
    width: int = 32
    dtype: Any = jnp.float32
    features: int | None = None
    rectified: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 o"]:
        """Encodes `[B, H, W, C]` to `[B, h, w, features]`; a side that cannot be halved is rounded up."""
        h = x
        for i, channels in enumerate(self.channels):
            h = nn.relu(Conv(channels, (4, 4), (2, 2), dtype=self.dtype, name=f"down{i}")(h))
        h = Conv(self.features or self.channels[-1], (3, 3), dtype=self.dtype, name="last")(h)
        h = nn.relu(h) if self.rectified else h
        return ResidualStack(self.blocks, self.width, dtype=self.dtype, name="stack")(h)


class Decoder(nn.Module):
    """Feature maps to images: a 3x3 convolution, residual blocks, 4x4 transposed convolutions that double the side.

    Source: van den Oord et al. 2017, section 4.1; the sizes by default are those of the authors' code for CIFAR-10.

    Fields:
      shape: the shape (H, W, C) of the output; a side that the doublings do not meet is cut to size.
      channels: the numbers of channels of the feature maps, the smallest map first; each is doubled once.
      blocks: the number of residual blocks.
      width: the number of channels between the two convolutions of a block.
      dtype: the dtype of the computation; the parameters are float32.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...] = (128, 64)
    blocks: int = 2
    width: int = 32
    dtype: Any = jnp.float32

    @property
    def grid(self) -> tuple[int, int]:
        """The height and the width of the feature maps that become images of `shape`.

        >>> Decoder((28, 28, 1)).grid
        (7, 7)
        """
        height, width = (-(-side // 2 ** len(self.channels)) for side in self.shape[:2])
        return height, width

    @nn.compact
    def __call__(self, z: Float[Array, "b h w d"], *, train: bool = False) -> Float[Array, "b h2 w2 c"]:
        """Decodes `[B, h, w, D]` to `[B, H, W, C]`."""
        h = Conv(self.channels[0], (3, 3), dtype=self.dtype, name="first")(z)
        h = ResidualStack(self.blocks, self.width, dtype=self.dtype, name="stack")(h)
        for i, channels in enumerate((*self.channels[1:], self.shape[2])):
            h = ConvTranspose(channels, (4, 4), (2, 2), dtype=self.dtype, name=f"up{i}")(h)
            if i < len(self.channels) - 1:
                h = nn.relu(h)
        return h[:, : self.shape[0], : self.shape[1]]
