"""A decoder that draws an image at several resolutions, and the autoencoder that has it, with or without skips."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn import BOX, Conv, doubled


class PyramidDecoder(nn.Module):
    r"""Codes to images of doubling sides, each the enlarged smaller one plus a residual, $y_s = \mathrm{up}(y_{s-1}) + r_s$.

    A level enlarges the features of the one before it, by repeating pixels, and has a 3x3 convolution, rectification, and a 1x1
    convolution to the residual. A skip is a map of an encoder, of the level's side, that a 1x1 convolution brings to a stated
    number of channels before it joins the features.

    Fields:
      shape: the shape (H, W, C) of the largest output; the sides are multiples of $2^{n-1}$ for n levels.
      channels: feature maps of the levels, the smallest image first.
      skip: channels of each skip; 0 for a decoder that sees the code alone.
      dtype: the dtype of the computation; the parameters and the images are float32.

    Source: the sum is that of Denton et al. 2015 (LAPGAN), section 2.2, and of the output skips of Karras et al. 2020.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...] = (64, 32)
    skip: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b l"], maps: Sequence[Float[Array, "b _ _ _"]] | None = None, *, train: bool = False
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Decodes codes to one image per level, the smallest first; skips without maps are zeros.

        Args:
          z: the codes.
          maps: the encoder's maps, the smallest first, one for each level.
          train: whether the module is trained.
        """
        factor = 2 ** (len(self.channels) - 1)
        height, width, colours = self.shape
        if height % factor or width % factor:
            raise SizeError(
                f"Images of {height}x{width} cannot be halved {len(self.channels) - 1} times without a rest; give fewer "
                "--channels, or images whose sides are multiples of "
                f"{factor}."
            )
        side = height // factor, width // factor
        h = jax.nn.relu(nn.Dense(side[0] * side[1] * self.channels[0], dtype=self.dtype, name="first")(z))
        h = h.reshape(-1, *side, self.channels[0])
        images: list[Array] = []
        for i, channels in enumerate(self.channels):
            if i > 0:
                h = doubled(h, BOX)
            if self.skip:
                h = jnp.concatenate([h, self._skip(h, None if maps is None else maps[i], i)], -1)
            h = jax.nn.relu(Conv(channels, (3, 3), dtype=self.dtype, name=f"level{i}")(h))
            residual = Conv(colours, (1, 1), dtype=self.dtype, name=f"image{i}")(h).astype(jnp.float32)
            images.append(residual if i == 0 else doubled(images[-1], BOX) + residual)
        return tuple(images)

    def _skip(self, h: Array, own: Array | None, level: int) -> Array:
        if own is None:
            return jnp.zeros((*h.shape[:-1], self.skip), h.dtype)
        if own.shape[:3] != h.shape[:3]:
            raise SizeError(f"A skip of {own.shape[1]}x{own.shape[2]} does not fit maps of {h.shape[1]}x{h.shape[2]}.")
        return Conv(self.skip, (1, 1), dtype=self.dtype, name=f"skip{level}")(own.astype(self.dtype))


class MultiscaleAutoencoder(nn.Module):
    """A bottleneck between an encoder and a decoder that draws images of several sizes.

    With skips the decoder sees the encoder's maps as well, and the code is no bottleneck any more: `decode` shows what the code
    alone gives, by zeros in place of the skips.

    Fields:
      encoder: the encoder, `[B, H, W, C]` to features `[B, F]`; for skips one with the methods `maps` and `vector`, as
        `trunk.Encoder` has them.
      decoder: the decoder.
      likelihood: the decoder's outputs to distributions over images.
      latents: the number of latents L.
      dtype: the dtype of the layer before the code.
    """

    encoder: nn.Module
    decoder: PyramidDecoder
    likelihood: nn.Module
    latents: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the linear layer before the code."""
        self.head = nn.Dense(self.latents, dtype=self.dtype)

    def encode(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b l"]:
        """The code of an image, in float32."""
        return self.head(self.encoder(x, train=train)).astype(jnp.float32)

    def decode(self, z: Float[Array, "b l"], *, train: bool = False) -> Any:
        """The distribution over the largest images of a code alone."""
        return self.likelihood(self.decoder(z, train=train)[-1])

    def scales(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Any, ...]:
        """The distributions over images of all sizes, the smallest first, of the code of an image, with its skips."""
        if not self.decoder.skip:
            images = self.decoder(self.encode(x, train=train), train=train)
        else:
            *maps, last = self.encoder.maps(x, train=train)
            levels = len(self.decoder.channels)
            # The output of some trunks is the map of their last stage, and of others one that is pooled once more.
            maps = [*maps, last][:levels][::-1]
            z = self.head(self.encoder.vector(last)).astype(jnp.float32)
            images = self.decoder(z, maps, train=train)
        return tuple(map(self.likelihood, images))

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Any:
        """The distribution over the largest images of the code of an image, with its skips."""
        return self.scales(x, train=train)[-1]
