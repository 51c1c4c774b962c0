"""The encoder and the decoder of latent diffusion's first stage, as its authors' code has them."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.models.diffusion.attention import SelfAttention
from jaxgen.nn import Conv, GroupNorm, ResidualBlock


class Encoder(nn.Module):
    """Images to maps: at each level residual blocks, between the levels a convolution that halves the side.

    The smallest maps pass a block, attention and a block. Every branch of a block and of attention starts at zero.

    Source: Rombach et al. 2022, section 3.1 and appendix G; the layers are those of the code of Esser et al. 2021.

    Fields:
      outputs: the channels of the maps: twice those of the latents for a normal posterior's means and log-variances.
      channels: the numbers of channels by level, the largest maps first; each level after the first halves the side.
      blocks: residual blocks at each level.
      attention_levels: numbers of the levels, from 0, whose blocks are followed by attention; the smallest maps always have it.
      groups: the most groups of every group normalisation, as in `GroupNorm`.
      dtype: the dtype of the computation; the parameters are float32.

    >>> jax.eval_shape(lambda x: Encoder(8, (16, 32)).init_with_output(jax.random.key(0), x)[0], jnp.ones((1, 8, 8, 3))).shape
    (1, 4, 4, 8)
    """

    outputs: int
    channels: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    attention_levels: tuple[int, ...] = ()
    groups: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Encodes a batch, in float32.

        Raises:
          SizeError: if a side cannot be halved so often.
        """
        factor = 2 ** (len(self.channels) - 1)
        if x.shape[1] % factor or x.shape[2] % factor:
            raise SizeError(
                f"Images of {x.shape[1]}x{x.shape[2]} cannot be halved {len(self.channels) - 1} times; "
                f"give sides that {factor} divides, or fewer levels."
            )
        h = Conv(self.channels[0], (3, 3), dtype=self.dtype)(x)
        for level, channels in enumerate(self.channels):
            if level > 0:
                # One row and one column of zeros after the last.
                h = Conv(h.shape[-1], (3, 3), (2, 2), padding=((0, 1), (0, 1)), dtype=self.dtype)(h)
            for _ in range(self.blocks):
                h = _block(self, h, channels, attend=level in self.attention_levels)
        return _ended(self, _middle(self, h), self.outputs)


class Decoder(nn.Module):
    """Maps to images: the mirror image of `Encoder`, with one block more at each level.

    The side is doubled by the nearest pixel and a convolution. The last convolution is called `out`.

    Source: Rombach et al. 2022, section 3.1 and appendix G; the layers are those of the code of Esser et al. 2021.

    Fields:
      outputs: the channels of the images.
      channels: the numbers of channels by level, the largest maps first, as of the encoder.
      blocks: residual blocks at each level of the encoder.
      attention_levels: numbers of the levels, from 0 for the largest maps, whose blocks are followed by attention.
      groups: the most groups of every group normalisation, as in `GroupNorm`.
      dtype: the dtype of the computation; the parameters are float32.

    >>> jax.eval_shape(lambda z: Decoder(3, (16, 32)).init_with_output(jax.random.key(0), z)[0], jnp.ones((1, 4, 4, 2))).shape
    (1, 8, 8, 3)
    """

    outputs: int
    channels: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    attention_levels: tuple[int, ...] = ()
    groups: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Decodes a batch, in float32."""
        h = _middle(self, Conv(self.channels[-1], (3, 3), dtype=self.dtype)(z))
        for level, channels in reversed(list(enumerate(self.channels))):
            for _ in range(self.blocks + 1):
                h = _block(self, h, channels, attend=level in self.attention_levels)
            if level > 0:
                h = Conv(channels, (3, 3), dtype=self.dtype)(h.repeat(2, axis=1).repeat(2, axis=2))
        return _ended(self, h, self.outputs)


def _norm(half: Encoder | Decoder) -> Callable[..., nn.Module]:
    return functools.partial(GroupNorm, half.groups)


def _block(half: Encoder | Decoder, h: Array, channels: int, *, attend: bool = False) -> Array:
    h = ResidualBlock(channels, group_norm=_norm(half), dtype=half.dtype)(h)
    return SelfAttention(group_norm=_norm(half), dtype=half.dtype)(h) if attend else h


def _middle(half: Encoder | Decoder, h: Array) -> Array:
    """The smallest maps: a block, attention, and a block."""
    h = _block(half, h, h.shape[-1], attend=True)
    return _block(half, h, h.shape[-1])


def _ended(half: Encoder | Decoder, h: Array, outputs: int) -> Array:
    h = jax.nn.swish(_norm(half)(dtype=half.dtype)(h))
    return Conv(outputs, (3, 3), dtype=half.dtype, name="out")(h).astype(jnp.float32)
