"""The generator of progressive GAN, and the discriminator that StyleGAN has too."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.models.gan.dcgan import smallest_map
from jaxgen.models.gan.growing import Lod, channels_of, grown, judged
from jaxgen.nn import BOX, PixelNorm, blurred, doubled, equalised_conv, equalised_dense, halved, minibatch_stddev


class ToRGB(nn.Module):
    """Maps to an image, by a convolution of one pixel.

    Fields:
      channels: the channels of the image.
      dtype: the dtype of the computation.
    """

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b h w c"]) -> Float[Array, "b h w i"]:
        """Makes images, in float32."""
        return equalised_conv(self.channels, (1, 1), gain=1.0, dtype=self.dtype, name="conv")(h).astype(jnp.float32)


class FromRGB(nn.Module):
    """An image to maps, by a convolution of one pixel and a leaky rectifier.

    Fields:
      channels: the channels of the maps.
      dtype: the dtype of the computation.
    """

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w c"]:
        """Makes maps."""
        return nn.leaky_relu(equalised_conv(self.channels, (1, 1), dtype=self.dtype, name="conv")(x), 0.2)


class GeneratorBlock(nn.Module):
    """The layers of a level of progressive GAN's generator.

    Fields:
      channels: the channels of its maps.
      start: the sides (H, W) of its maps at level 0, where it begins from a code; None doubles the sides of maps.
      dtype: the dtype of the computation.
    """

    channels: int
    start: tuple[int, int] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Array) -> Float[Array, "b h w c"]:
        """Makes maps."""
        if self.start is None:
            h = equalised_conv(self.channels, dtype=self.dtype, name="conv0")(doubled(h, BOX))
        else:
            # The kernel is scaled as that of a convolution of the maps' size, whose outputs have H W times as many inputs.
            height, width = self.start
            gain = math.sqrt(2.0 / (height * width))
            size = height * width * self.channels
            h = equalised_dense(size, gain=gain, use_bias=False, dtype=self.dtype, name="dense")(PixelNorm(dtype=self.dtype)(h))
            bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,), jnp.float32)
            h = h.reshape(-1, height, width, self.channels) + bias.astype(self.dtype)
        h = PixelNorm(dtype=self.dtype)(nn.leaky_relu(h, 0.2))
        h = equalised_conv(self.channels, dtype=self.dtype, name="conv1")(h)
        return PixelNorm(dtype=self.dtype)(nn.leaky_relu(h, 0.2))


class Generator(nn.Module):
    """The generator of progressive GAN: codes to images, up to a level of detail.

    Codes are brought to the unit sphere, times the root of their length. Pixelwise normalisation follows each rectifier, and
    nothing the last layer.

    Source: Karras et al. 2018, section 4 and table 2.

    Fields:
      shape: the shape (H, W, C) of the images; both sides are a multiple of 2 to the number of doublings.
      channels: the numbers of channels of the maps, the smallest map first; one doubling less.
      dtype: the dtype of the computation; the parameters are float32.
    """

    shape: tuple[int, ...]
    channels: tuple[int, ...]
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the levels."""
        start = smallest_map(self.shape, len(self.channels) - 1, flag="halvings by --channels")
        self.blocks = [GeneratorBlock(c, None if i else start, self.dtype) for i, c in enumerate(self.channels)]
        self.to_rgb = [ToRGB(self.shape[2], self.dtype) for _ in self.channels]

    def __call__(self, z: Float[Array, "b l"], *, lod: Lod = 0.0, train: bool = False) -> Float[Array, "b h w c"]:
        """Generates a batch, in float32, about in [-1, 1]."""
        return grown(self, lod, self.channels, lambda network, level, h: network.blocks[level](h), z)


class DiscriminatorBlock(nn.Module):
    """The layers of a level of a growing discriminator but the last.

    Fields:
      channels: the channels of the maps that come in.
      outputs: the channels of the maps that go out.
      blur: whether maps are blurred before they are halved, as StyleGAN's.
      dtype: the dtype of the computation.
    """

    channels: int
    outputs: int
    blur: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Halves maps."""
        h = nn.leaky_relu(equalised_conv(self.channels, dtype=self.dtype, name="conv0")(h), 0.2)
        down = equalised_conv(self.outputs, dtype=self.dtype, name="conv1")
        if self.blur:  # the rectifier follows the mean of four pixels there, and comes before it in progressive GAN
            return nn.leaky_relu(halved(down(blurred(h)), BOX), 0.2)
        return halved(nn.leaky_relu(down(h), 0.2), BOX)


class DiscriminatorHead(nn.Module):
    """The last layers of a growing discriminator.

    Fields:
      channels: the channels of its maps.
      group: the number of examples over which the standard deviation is taken; 0 takes none.
      dtype: the dtype of the computation.
    """

    channels: int
    group: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b h w c"], mask: Float[Array, " b"] | None) -> Float[Array, " b"]:
        """Judges a batch, in float32."""
        if self.group:
            h = minibatch_stddev(h, self.group, mask=mask)
        h = nn.leaky_relu(equalised_conv(self.channels, dtype=self.dtype, name="conv")(h), 0.2)
        h = equalised_dense(self.channels, dtype=self.dtype, name="dense0")(h.reshape(len(h), -1))
        logits = equalised_dense(1, gain=1.0, dtype=self.dtype, name="dense1")(nn.leaky_relu(h, 0.2))
        return logits[:, 0].astype(jnp.float32)


class Discriminator(nn.Module):
    """The discriminator of progressive GAN, and with `blur` that of StyleGAN: images of a level of detail to logits.

    Source: Karras et al. 2018, table 2; Karras et al. 2019, appendix C.

    Fields:
      channels: the numbers of channels of the maps, the smallest map first.
      group: the number of examples over which the standard deviation is taken; 0 takes none.
      blur: whether maps are blurred before they are halved.
      dtype: the dtype of the computation; the parameters are float32.
    """

    channels: tuple[int, ...]
    group: int = 4
    blur: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the levels."""
        pairs = zip(self.channels[1:], self.channels, strict=False)
        self.blocks = [
            DiscriminatorHead(self.channels[0], self.group, self.dtype),
            *(DiscriminatorBlock(c, outputs, self.blur, self.dtype) for c, outputs in pairs),
        ]
        self.from_rgb = [FromRGB(c, self.dtype) for c in self.channels]

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        lod: Lod = 0.0,
        mask: Float[Array, " b"] | None = None,
        train: bool = False,
    ) -> Float[Array, " b"]:
        """Judges a batch, in float32; `mask` is zero for the examples that only fill the batch up."""
        smallest_map(x.shape[1:], len(self.channels) - 1, flag="halvings by --channels")

        def block(network: Any, level: int, h: Array) -> Array:
            return network.blocks[level](h) if level else network.blocks[0](h, mask)

        return judged(self, lod, self.channels, block, x.astype(self.dtype))


def paper(side: int = 1024) -> tuple[Generator, Discriminator]:
    """The networks of progressive GAN, for colour images of a side that is a power of two.

    Args:
      side: the side of the images.

    Returns:
      The generator, of codes of 512 numbers, and the discriminator.

    Source: Karras et al. 2018, table 2; the authors' code.
    """
    channels = channels_of(side)
    return Generator((side, side, 3), channels), Discriminator(channels)
