"""The autoencoder of MUNIT, which takes an image apart into a content, a map, and a style, a vector."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn import BOX, Conv, ImageNorm, InstanceNorm, adaptive_instance_norm, doubled, reflect_pad

KAIMING = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
"""He's normal initializer by the inputs of a layer."""

WIDENED = 2
"""Halvings of the style encoder at which its channels double; they stay at the others."""


class ContentEncoder(nn.Module):
    """Images to their contents: maps of a smaller side, of which instance normalisation has taken means and deviations.

    A 7x7 convolution, 4x4 ones of stride two that double the channels, and residual blocks. Borders are reflected.

    Source: Huang et al. 2018, section 5.1 and appendix B.2.

    Fields:
      halvings: the number of convolutions of stride two.
      blocks: the number of residual blocks.
      width: the channels of the first map.
      dtype: the dtype of the computation; the parameters are float32.
    """

    halvings: int = 2
    blocks: int = 4
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """The contents of a batch."""
        norm = InstanceNorm(dtype=self.dtype)
        h = nn.relu(norm(_conv(self, x, self.width, 7, "in")))
        for i in range(self.halvings):
            h = nn.relu(norm(_conv(self, h, self.width * 2 ** (i + 1), 4, f"down{i}")))
        for i in range(self.blocks):
            y = nn.relu(norm(_conv(self, h, h.shape[-1], 3, f"block{i}_conv0")))
            h = h + norm(_conv(self, y, h.shape[-1], 3, f"block{i}_conv1"))
        return h


class PooledStyleEncoder(nn.Module):
    """Images to their styles: convolutions without normalisation, the mean over all pixels, and a linear layer.

    Instance normalisation would take away the means and deviations of the channels, which hold much of the style.

    Source: Huang et al. 2018, section 5.1 and appendix B.2.

    Fields:
      latents: the dimension of a style.
      halvings: the number of 4x4 convolutions of stride two behind the first, of 7x7.
      width: the channels of the first map; the first two halvings double them.
      dtype: the dtype of the computation; the parameters are float32.
    """

    latents: int = 8
    halvings: int = 4
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b l"]:
        """The styles of a batch, in float32."""
        h = nn.relu(_conv(self, x, self.width, 7, "in"))
        for i in range(self.halvings):
            h = nn.relu(_conv(self, h, self.width * 2 ** min(i + 1, WIDENED), 4, f"down{i}"))
        dense = nn.Dense(self.latents, kernel_init=KAIMING, dtype=self.dtype, name="style")
        return dense(h.mean((1, 2))).astype(jnp.float32)


class StyledDecoder(nn.Module):
    """Contents to images in [-1, 1], by residual blocks whose normalisation takes means and deviations from the style.

    Three dense layers make the mean and the deviation of every channel behind every convolution of the blocks. Then the sides
    are doubled by nearest pixels, each time before a 5x5 convolution that halves the channels, and layer normalisation of the
    whole image; a 7x7 convolution ends in tanh. Borders are reflected.

    Source: Huang et al. 2018, section 5.1, equation 6 and appendix B.2; the order of the means and deviations is the authors'
    code's (github.com/NVlabs/MUNIT).

    Fields:
      doublings: the number of times that the side is doubled.
      blocks: the number of residual blocks.
      mlp_width: the units of the dense layers.
      outputs: the channels of the images.
      dtype: the dtype of the computation; the parameters are float32.
    """

    doublings: int = 2
    blocks: int = 4
    mlp_width: int = 256
    outputs: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, content: Float[Array, "b h w d"], style: Float[Array, "b l"]) -> Float[Array, "b h2 w2 o"]:
        """The images of contents and styles, in float32."""
        h = content.astype(self.dtype)
        moments = self._moments(style, h.shape[-1])
        for i in range(self.blocks):
            y = h
            for j in range(2):
                mean, std = moments[:, 2 * i + j, 0, None, None], moments[:, 2 * i + j, 1, None, None]
                y = adaptive_instance_norm(_conv(self, y, h.shape[-1], 3, f"block{i}_conv{j}"), std, mean)
                y = nn.relu(y) if j == 0 else y
            h = h + y
        for i in range(self.doublings):
            h = _conv(self, doubled(h, BOX), h.shape[-1] // 2, 5, f"up{i}")
            h = nn.relu(ImageNorm(dtype=self.dtype, name=f"up{i}_norm")(h))
        return jnp.tanh(_conv(self, h, self.outputs, 7, "out").astype(jnp.float32))

    @nn.nowrap
    def _moments(self, style: Array, channels: int) -> Float[Array, "b convs two d"]:
        for i in range(2):
            dense = nn.Dense(self.mlp_width, kernel_init=KAIMING, dtype=self.dtype, name=f"mlp{i}")
            style = nn.relu(dense(style))
        out = nn.Dense(4 * self.blocks * channels, kernel_init=KAIMING, dtype=self.dtype, name="mlp2")
        return out(style).reshape(-1, 2 * self.blocks, 2, channels)


class MUNITAutoencoder(nn.Module):
    """The encoders of contents and styles of one domain, and the decoder that puts them together.

    Source: Huang et al. 2018, sections 3 and 5.1. The fields' defaults are the authors' for images of 256x256.

    Fields:
      latents: the dimension of a style.
      width: the channels of the first maps of both encoders.
      halvings: the number of times that the side of a content is half of the one before.
      style_halvings: the same of the maps of which the style is the mean.
      blocks: the residual blocks of the content encoder, and as many of the decoder.
      mlp_width: the units of the dense layers that make means and deviations of a style.
      outputs: the channels of the images.
      dtype: the dtype of the computation; the parameters are float32.
    """

    latents: int = 8
    width: int = 64
    halvings: int = 2
    style_halvings: int = 4
    blocks: int = 4
    mlp_width: int = 256
    outputs: int = 3
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.content = ContentEncoder(self.halvings, self.blocks, self.width, self.dtype)
        self.style = PooledStyleEncoder(self.latents, self.style_halvings, self.width, self.dtype)
        self.decoder = StyledDecoder(self.halvings, self.blocks, self.mlp_width, self.outputs, self.dtype)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w o"]:
        """Reconstructs a batch of images in [-1, 1]; training changes nothing."""
        return self.decode(*self.encode(x), train=train)

    def encode(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "b h2 w2 d"], Float[Array, "b l"]]:
        """Takes images apart.

        Args:
          x: the images, in [-1, 1].
          train: whether this is training, which changes nothing.

        Returns:
          The contents and the styles.

        Raises:
          SizeError: if the sides cannot be halved so often.
        """
        size, least = f"{x.shape[1]}x{x.shape[2]}", 2 ** (self.halvings + 1)
        if min(x.shape[1:3]) >> self.style_halvings == 0 or min(x.shape[1:3]) < 4:
            raise SizeError(
                f"Images of {size} cannot be halved {self.style_halvings} times for their styles; give fewer "
                "--style-halvings, or a --side of 4 or more."
            )
        if any(side % 2**self.halvings or side < least for side in x.shape[1:3]):
            raise SizeError(
                f"Images of {size} cannot be halved {self.halvings} times to contents of two pixels or more; give a "
                f"--side that is a multiple of {2**self.halvings}, {least} or more, or fewer --halvings."
            )
        return self.content(x), self.style(x)

    def decode(
        self, content: Float[Array, "b h w d"], style: Float[Array, "b l"], *, train: bool = False
    ) -> Float[Array, "b h2 w2 o"]:
        """Puts contents and styles together to images, in float32; training changes nothing."""
        return self.decoder(content, style)


def _conv(module: Any, x: Array, channels: int, size: int, name: str) -> Array:
    """A convolution with reflected borders, of stride two where its size is even; a part of the module that calls it."""
    stride = 2 - size % 2
    padding = (size - 1) // 2
    layer = Conv(channels, (size, size), (stride, stride), 0, kernel_init=KAIMING, dtype=module.dtype, name=name)
    return layer(reflect_pad(x.astype(module.dtype), padding))
