"""The deep convolutional generator and discriminator, for images of any side that doublings reach."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn import BatchNorm, Conv, ConvTranspose, SpectralNorm

KERNEL = nn.initializers.normal(0.02)


def gains(key: Any, shape: Any, dtype: Any = jnp.float32) -> Array:
    """The initial gains of the batch normalisation, N(1, 0.02), as in the authors' code."""
    return 1 + nn.initializers.normal(0.02)(key, shape, dtype)


class Generator(nn.Module):
    """Codes to images in [-1, 1]: a dense layer, then transposed convolutions that double the side.

    Batch normalisation and a rectifier after every layer but the last, which ends in tanh. Kernels of 4x4 (the figure's are
    5x5) overlap evenly where the stride is 2. Source: Radford et al. 2015, figure 1 and section 3.

    Fields:
      shape: the shape (H, W, C) of the output; both sides are a multiple of 2 to the number of `channels`.
      channels: the numbers of channels of the feature maps, the smallest map first: two for 28, three for 32, four for 64.
      kernel_size: the height and the width of the convolutions' kernels.
      dtype: the dtype of the computation; the parameters are float32.
    """

    shape: tuple[int, ...]
    channels: tuple[int, ...] = (128, 64)
    kernel_size: tuple[int, int] = (4, 4)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b l"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """Generates a batch, in float32."""
        height, width = smallest_map(self.shape, len(self.channels))
        h = nn.Dense(height * width * self.channels[0], use_bias=False, kernel_init=KERNEL, dtype=self.dtype)(z)
        h = h.reshape(-1, height, width, self.channels[0])
        widths = (*self.channels[1:], self.shape[2])
        for i, channels in enumerate(widths):
            h = nn.relu(BatchNorm(scale_init=gains, dtype=self.dtype)(h, train=train))
            last = i == len(widths) - 1  # the others' biases are the normalisation's
            h = ConvTranspose(channels, self.kernel_size, (2, 2), use_bias=last, kernel_init=KERNEL, dtype=self.dtype)(h)
        return jnp.tanh(h.astype(jnp.float32))


class Discriminator(nn.Module):
    """Images to logits: convolutions that halve the side, then a dense layer.

    Applied with `mutable=["maps"]` it also gives the feature maps, as features of the image (`pooled`).

    Leaky rectifiers of slope 0.2, and batch normalisation in all layers but the first and the last. Source: as `Generator`.

    Fields:
      channels: the numbers of channels of the feature maps, the largest map first.
      kernel_size: the height and the width of the convolutions' kernels.
      normalised: whether it has batch normalisation; a critic with a gradient penalty has to judge each example by itself, so
        without.
      spectral: whether every kernel is divided by its spectral norm (Miyato et al. 2018), which one power iteration per
        call tracks.
      dtype: the dtype of the computation; the parameters are float32.
    """

    channels: tuple[int, ...] = (64, 128)
    kernel_size: tuple[int, int] = (4, 4)
    normalised: bool = True
    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, " b"]:
        """Judges a batch, in float32."""
        maps = self.features(x, train=train)
        if self.is_mutable_collection("maps") and not self.is_initializing():
            self.sow("maps", "convolutions", maps)
        h = maps[-1]
        head = nn.Dense(1, kernel_init=KERNEL, dtype=self.dtype, name="head")
        return self._layer(head, h.reshape(h.shape[0], -1), train)[:, 0].astype(jnp.float32)

    @nn.nowrap
    def features(self, x: Float[Array, "b h w c"], *, train: bool = False) -> list[Array]:
        """The maps after each convolution."""
        smallest_map(x.shape[1:], len(self.channels))
        maps = []
        h = x
        for i, channels in enumerate(self.channels):
            normalised = self.normalised and i > 0
            conv = Conv(
                channels,
                self.kernel_size,
                (2, 2),
                use_bias=not normalised,
                kernel_init=KERNEL,
                dtype=self.dtype,
                name=f"down{i}",
            )
            h = self._layer(conv, h, train)
            if normalised:
                h = BatchNorm(scale_init=gains, dtype=self.dtype, name=f"norm{i}")(h, train=train)
            h = nn.leaky_relu(h, 0.2)
            maps.append(h)
        return maps

    @nn.nowrap
    def _layer(self, layer: nn.Module, h: Array, train: bool) -> Array:
        return SpectralNorm(layer, name=f"{layer.name}_spectral")(h, update_stats=train) if self.spectral else layer(h)


def pooled(maps: Sequence[Array], side: int = 4) -> Float[Array, "b f"]:
    """Feature maps as one vector of an image: the largest values of each map in a grid of 4x4 cells, or in its own, if smaller.

    Args:
      maps: the maps `[B, H, W, C]` after each convolution, as `Discriminator` gives them in the collection `maps`.
      side: the number of cells along each side.

    Returns:
      The features, map by map.

    Source: Radford et al. 2015, section 5.1.

    >>> pooled([jnp.arange(64.0).reshape(1, 8, 8, 1), jnp.zeros((1, 2, 2, 3))]).shape
    (1, 28)
    >>> pooled([jnp.arange(64.0).reshape(1, 8, 8, 1)])[0, :5].tolist()
    [9.0, 11.0, 13.0, 15.0, 25.0]
    """
    found = []
    for h in maps:
        window = (-(-h.shape[1] // side), -(-h.shape[2] // side))
        found.append(nn.max_pool(h, window, strides=window, padding="SAME").reshape(h.shape[0], -1))
    return jnp.concatenate(found, axis=1).astype(jnp.float32)


def smallest_map(shape: tuple[int, ...], halvings: int, *, flag: str = "--channels") -> tuple[int, int]:
    """The sides of the smallest feature map.

    Args:
      shape: the shape (H, W, C) of the images.
      halvings: the number of times that the side is halved.
      flag: the flag that says so, for the message.

    Returns:
      Height and width.

    Raises:
      SizeError: if a side is no multiple of 2 to the number of halvings.
    """
    factor = 2**halvings
    if any(side % factor for side in shape[:2]):
        side = math.gcd(*shape[:2])
        most = (side & -side).bit_length() - 1
        mend = f"give {most} {flag} or fewer" if most else "resize them to even sides"
        raise SizeError(f"Images of {shape[0]}x{shape[1]} can be halved {most} times, not {halvings}; {mend}.")
    return shape[0] // factor, shape[1] // factor
