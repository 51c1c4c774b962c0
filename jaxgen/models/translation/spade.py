"""The generator of SPADE: a map of classes, shown to every layer by its normalisation, becomes an image."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.distributions import Normal
from jaxgen.errors import SizeError
from jaxgen.models.gan.dcgan import smallest_map
from jaxgen.nn import (
    BOX,
    BatchNorm,
    Conv,
    InstanceNorm,
    SpatiallyAdaptiveNorm,
    SpectralNorm,
    doubled,
    interpolate,
    nearest_pixels,
)
from jaxgen.nn.interpolation import bilinear
from jaxgen.types import Key

WIDTHS = (16, 16, 16, 8, 4, 2, 1)
"""The channels of the blocks, as multiples of the width: a head, two in the middle, and four that lead to the image."""

DOUBLED_FIRST = (6, 5, 4, 3, 1, 2)
"""The blocks before which maps are doubled, in the order in which further doublings are added to a network."""

SMALLEST = 4
"""The side of the map that a style is read from."""


def small_xavier(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    r"""The authors' initializer of kernels: Glorot's normal one times 0.02, $\sigma = 0.02 \sqrt{2 / (n_{in} + n_{out})}$.

    Spectral normalisation takes the factor out again, and biases start at zero.

    Args:
      key: the key of the draw.
      shape: the shape of the kernel, `[..., in, out]`.
      dtype: the dtype of the kernel.

    Returns:
      The kernel.

    Source: github.com/NVlabs/SPADE, models/networks/base_network.py.

    >>> small_xavier(jax.random.key(0), (3, 3, 8, 8)).shape
    (3, 3, 8, 8)
    """
    *window, inputs, outputs = shape
    std = 0.02 * math.sqrt(2 / (math.prod(window) * (inputs + outputs)))
    # Drawn as a vector: XLA compiles a draw of four axes for five times as long on a CPU.
    return (std * jax.random.normal(key, (math.prod(shape),), dtype)).reshape(shape)


class SPADEResnetBlock(nn.Module):
    r"""$s(x) + f(x)$ with f = (normalise by the map m, activate, 3x3 convolution) twice.

    The shortcut s is the identity; where the number of channels changes, it is normalised by m too and convolved by 1x1. All
    convolutions are divided by their spectral norms.

    Source: Park et al. 2019, section 3 and figure 4; the spectral norm of the shortcut and the leak of 0.2 are the authors'
    code's (github.com/NVlabs/SPADE).

    Fields:
      features: the channels of the result; the branch f has the smaller number of these and of the input's.
      hidden: the channels of the layer that makes gamma and beta of m.
      instance: whether each image is normalised by itself, and not the batch by its statistics.
      dtype: the dtype of the computation; the parameters are float32.
    """

    features: int
    hidden: int = 128
    instance: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], m: Float[Array, "b h2 w2 s"], *, train: bool = False
    ) -> Float[Array, "b h w o"]:
        """Maps a batch of feature maps.

        Args:
          x: the maps.
          m: the map that normalises them, in any size.
          train: whether batch normalisation takes the statistics of the batch, and spectral norms are followed.

        Returns:
          The new maps.
        """
        x = x.astype(self.dtype)
        middle = min(x.shape[-1], self.features)
        y = self._conv(nn.leaky_relu(self._norm(x, m, "norm0", train), 0.2), middle, "conv0", train)
        y = self._conv(nn.leaky_relu(self._norm(y, m, "norm1", train), 0.2), self.features, "conv1", train)
        if x.shape[-1] != self.features:
            x = self._conv(self._norm(x, m, "norm_shortcut", train), self.features, "shortcut", train, size=1)
        return x + y

    @nn.nowrap
    def _norm(self, x: Array, m: Array, name: str, train: bool) -> Array:
        def norm(x: Array) -> Array:
            return InstanceNorm()(x) if self.instance else BatchNorm(affine=False)(x, train=train)

        return SpatiallyAdaptiveNorm(norm, self.hidden, dtype=self.dtype, kernel_init=small_xavier, name=name)(x, m)

    @nn.nowrap
    def _conv(self, x: Array, channels: int, name: str, train: bool, *, size: int = 3) -> Array:
        layer = Conv(channels, (size, size), use_bias=size > 1, kernel_init=small_xavier, dtype=self.dtype, name=name)
        return SpectralNorm(layer, name=f"{name}_spectral")(x, update_stats=train)


class SPADEGenerator(nn.Module):
    """Maps of classes to images in [-1, 1] of the same size, by residual blocks that double the side.

    It begins with the map at its smallest size, or with a vector of style. Then come a head and two blocks of 16 times the
    width, and four of 8, 4, 2 and 1 times. The maps are doubled before the last four and before the first of the middle; with
    six doublings also before the second, and with seven before one more block of half the width. With fewer than five, the
    first blocks keep their side.

    Source: Park et al. 2019, section 3 and appendix A; the authors' code calls 5, 6 and 7 doublings "normal", "more" and
    "most". Fewer are ours, for small images.

    Fields:
      doublings: the number of times that the side is doubled, from 1 to 7.
      width: the channels of the seventh block.
      hidden: the channels of the layers that make gamma and beta of the map.
      outputs: the channels of the images.
      instance: whether each image is normalised by itself, and not the batch by its statistics.
      dtype: the dtype of the computation; the parameters are float32.
    """

    doublings: int = 5
    width: int = 64
    hidden: int = 128
    outputs: int = 3
    instance: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, m: Float[Array, "b h w s"], z: Float[Array, "b l"] | None = None, *, train: bool = False
    ) -> Float[Array, "b h w o"]:
        """Makes a batch of images, in float32.

        Args:
          m: the maps: one channel for each class, and others such as the edges of objects.
          z: the styles; None begins with the map.
          train: whether batch normalisation takes the statistics of the batch, and spectral norms are followed.

        Returns:
          The images.

        Raises:
          SizeError: if the sides cannot be halved so often, or there are more doublings than blocks.
        """
        if not 1 <= self.doublings <= len(DOUBLED_FIRST) + 1:
            raise SizeError(f"There are {self.doublings} doublings; give 1 to {len(DOUBLED_FIRST) + 1} --doublings.")
        sides = smallest_map(m.shape[1:], self.doublings, flag="--doublings")
        widths = [self.width * factor for factor in WIDTHS]
        if self.doublings > len(DOUBLED_FIRST):
            widths.append(max(self.width // 2, 1))
        twice = {*DOUBLED_FIRST[: self.doublings], *range(len(WIDTHS), len(widths))}
        if z is None:
            h = self._conv(widths[0], "start")(nearest_pixels(m, sides))
        else:
            dense = nn.Dense(sides[0] * sides[1] * widths[0], kernel_init=small_xavier, dtype=self.dtype, name="start")
            h = dense(z).reshape(-1, *sides, widths[0])
        for i, channels in enumerate(widths):
            h = doubled(h, BOX) if i in twice else h
            h = SPADEResnetBlock(channels, self.hidden, self.instance, self.dtype, name=f"block{i}")(h, m, train=train)
        return jnp.tanh(self._conv(self.outputs, "image")(nn.leaky_relu(h, 0.2)).astype(jnp.float32))

    @nn.nowrap
    def _conv(self, channels: int, name: str) -> Conv:
        return Conv(channels, (3, 3), kernel_init=small_xavier, dtype=self.dtype, name=name)


class StyleEncoder(nn.Module):
    """Images to a normal distribution of their styles: 3x3 convolutions of stride two, down to 4x4, and two dense layers.

    The images are brought to one side first. All convolutions are divided by their spectral norms and followed by instance
    normalisation without gains; leaky rectifiers have the slope 0.2. The dense layers give the mean and the log of the
    variance.

    Source: Park et al. 2019, section 3 (multi-modal synthesis) and appendix A; the spectral norms are the authors' code's.

    Fields:
      latents: the dimension of a style.
      width: the channels of the first convolution; they double up to eight times as many.
      side: the side that images are brought to: 8, 16, 32 and so on.
      dtype: the dtype of the computation; the parameters are float32.
    """

    latents: int = 256
    width: int = 64
    side: int = 256
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Normal:
        """The distribution of each image's style, in float32.

        Args:
          x: the images, in [-1, 1].
          train: whether spectral norms are followed.

        Returns:
          The distributions of `[B, latents]`.

        Raises:
          SizeError: if the side is none of those.
        """
        downs = (self.side // SMALLEST).bit_length() - 1
        if downs < 1 or self.side != SMALLEST * 2**downs:
            raise SizeError(f"A style cannot be read from images of side {self.side}; give 8, 16, 32, 64, 128 or 256.")
        if x.shape[1:3] != (self.side, self.side):
            x = interpolate(x, (self.side, self.side), bilinear)
        h = x
        for i in range(downs):
            h = h if i == 0 else nn.leaky_relu(h, 0.2)
            channels = self.width * min(2**i, 8)
            conv = Conv(
                channels, (3, 3), (2, 2), 1, use_bias=False, kernel_init=small_xavier, dtype=self.dtype, name=f"conv{i}"
            )
            h = SpectralNorm(conv, name=f"conv{i}_spectral")(h, update_stats=train)
            h = InstanceNorm(dtype=self.dtype)(h)
        h = nn.leaky_relu(h, 0.2).reshape(len(x), -1)
        mean, log_var = (
            nn.Dense(self.latents, kernel_init=small_xavier, dtype=self.dtype, name=name)(h).astype(jnp.float32)
            for name in ("mean", "log_var")
        )
        return Normal(mean, jnp.exp(log_var / 2))
