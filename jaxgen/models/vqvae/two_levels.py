"""The VQ-VAE-2: an autoencoder whose code is a coarse grid of whole numbers above a fine one."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.models.vqvae.networks import Decoder, Encoder
from jaxgen.nn import Conv, ConvTranspose, Quantised


class Codes(NamedTuple):
    """The codes of both levels.

    Fields:
      top: the codes of the coarse grid.
      bottom: the codes of the fine grid.
    """

    top: Int[Array, "b h w"]
    bottom: Int[Array, "b h2 w2"]


class TwoLevelVQVAE(nn.Module):
    """An autoencoder whose code is two grids of whole numbers: a coarse one, the top, and one of twice its sides, the bottom.

    The encoder's maps are encoded once more, to half their sides, and these are quantised: they are the top codes. A decoder
    brings their vectors back to the size of the encoder's maps. Both together are quantised again: so the bottom codes hold
    what the top codes leave out. An image is decoded from the vectors of the bottom codes and the enlarged ones of the top.

    A second stage learns the distribution of the codes, top first, then bottom given top. With the module and its variables
    (`jaxgen.frozen`), it takes the codes of images by `module.apply(variables, x, method="encode")`, and the images of codes by
    `module.apply(variables, top, bottom, method="decode")`. Neither draws random numbers or changes a codebook. The numbers of
    codes are `module.top_quantiser.codes` and `module.quantiser.codes`, the grids are `module.grids`, top first, and the shape
    of an image is `module.decoder.shape`.

    Without further arguments than `of` needs it is rosinality/vq-vae-2-pytorch's for images of 256x256.

    Source: Razavi et al. 2019, section 3.1 and algorithm 1.

    Fields:
      encoder: the encoder of images, `[B, H, W, C]` to feature maps `[B, 2h, 2w, F]`.
      top_encoder: the encoder of these maps to maps of half the sides, `[B, h, w, F]`.
      top_decoder: the decoder of vectors of top codes `[B, h, w, D]` to maps `[B, 2h, 2w, D]`; its `grid` is (h, w).
      decoder: the decoder of vectors of both levels `[B, 2h, 2w, 2D]` to images; its `grid` is (2h, 2w).
      top_quantiser: the quantiser with the codebook of the top level, such as `nn.VectorQuantiserEMA`.
      quantiser: the quantiser with the codebook of the bottom level.
      dtype: the dtype of the convolutions before the quantisers; the quantisers and the images are float32.

    >>> from jaxgen.nn import VectorQuantiserEMA
    >>> module = TwoLevelVQVAE.of((32, 32, 3), VectorQuantiserEMA(16, 4), VectorQuantiserEMA(16, 4))
    >>> module.grids
    ((4, 4), (8, 8))
    """

    encoder: nn.Module
    top_encoder: nn.Module
    top_decoder: Any
    decoder: Any
    top_quantiser: Any
    quantiser: Any
    dtype: Any = jnp.float32

    @classmethod
    def of(
        cls,
        shape: tuple[int, int, int],
        top_quantiser: Any,
        quantiser: Any,
        *,
        channels: tuple[int, ...] = (64, 128),
        blocks: int = 2,
        width: int = 32,
        dtype: Any = jnp.float32,
    ) -> "TwoLevelVQVAE":
        """The model of images of a shape, whose sizes by default are those of rosinality/vq-vae-2-pytorch.

        Args:
          shape: the shape (H, W, C) of the images.
          top_quantiser: the quantiser of the top level.
          quantiser: the quantiser of the bottom level.
          channels: the numbers of channels of the encoder's feature maps, the largest first; each halves the side once.
          blocks: the number of residual blocks of each encoder and decoder.
          width: the number of channels between the two convolutions of a block.
          dtype: the dtype of the computation.
        """
        last = channels[-1]
        encoder = Encoder(channels, blocks, width, dtype, rectified=False)
        top_encoder = Encoder((max(last // 2, 1),), blocks, width, dtype, features=last, rectified=False)
        decoder = Decoder(shape, channels[::-1], blocks, width, dtype)
        top_decoder = Decoder((*decoder.grid, top_quantiser.features), (last,), blocks, width, dtype)
        return cls(encoder, top_encoder, top_decoder, decoder, top_quantiser, quantiser, dtype)

    def setup(self) -> None:
        """Makes the convolutions before the quantisers, and the one that enlarges the top level."""
        self.top_head = Conv(self.top_quantiser.features, (1, 1), dtype=self.dtype)
        self.head = Conv(self.quantiser.features, (1, 1), dtype=self.dtype)
        self.enlarge = ConvTranspose(self.top_quantiser.features, (4, 4), (2, 2), dtype=self.dtype)

    @property
    def grids(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The heights and the widths of the grids of codes of an image, top first."""
        return self.top_decoder.grid, self.decoder.grid

    def __call__(
        self, x: Float[Array, "b h w c"], mask: Float[Array, " b"] | None = None, *, train: bool = False
    ) -> tuple[Float[Array, "b h w c"], dict[str, Quantised]]:
        """Reconstructs images.

        Args:
          x: images.
          mask: a mask that is zero for the examples that only fill the batch up; averages of a codebook leave them out.
          train: whether the codebooks move.

        Returns:
          The reconstructions, and what each quantiser made of the batch, `top` and `bottom`.
        """
        maps, vectors = self._top(x, train)
        top = self.top_quantiser(vectors, mask=mask, train=train)
        bottom = self.quantiser(self._bottom(maps, top.vectors, train), mask=mask, train=train)
        return self.decode_vectors(top.vectors, bottom.vectors, train=train), {"top": top, "bottom": bottom}

    def encode(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Codes:
        """The codes of images, int32. The codebooks do not move."""
        maps, vectors = self._top(x, train)
        top = self.top_quantiser(vectors)
        return Codes(top.codes, self.quantiser(self._bottom(maps, top.vectors, train)).codes)

    def decode(
        self, top: Int[Array, "b h2 w2"], bottom: Int[Array, "b h3 w3"], *, train: bool = False
    ) -> Float[Array, "b h w c"]:
        """The images of codes, in float32; nan for a number that is no code."""
        return self.decode_vectors(*self.lookup(top, bottom), train=train)

    def lookup(self, top: Int[Array, "b h2 w2"], bottom: Int[Array, "n h3 w3"], *, train: bool = False) -> tuple[Array, Array]:
        """The vectors of codes, top first, which need not be of the same images; nan for a number that is no code."""
        return self.top_quantiser.lookup(top), self.quantiser.lookup(bottom)

    def decode_vectors(
        self, top: Float[Array, "b h2 w2 d"], bottom: Float[Array, "b h3 w3 d2"], *, train: bool = False
    ) -> Float[Array, "b h w c"]:
        """The images of vectors, which need not be those of codes, in float32."""
        height, width = bottom.shape[1:3]
        enlarged = self.enlarge(top)[:, :height, :width]
        both = jnp.concatenate([enlarged.astype(jnp.float32), bottom], axis=-1)
        return self.decoder(both, train=train).astype(jnp.float32)

    def reconstruct(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """The images of the codes of images. The codebooks do not move."""
        return self.decode(*self.encode(x, train=train), train=train)

    def _top(self, x: Array, train: bool) -> tuple[Array, Array]:
        """The encoder's maps, and the vectors that the top codes are chosen for."""
        maps = self.encoder(x, train=train)
        return maps, self.top_head(self.top_encoder(maps, train=train))

    def _bottom(self, maps: Array, top: Array, train: bool) -> Array:
        """The vectors that the bottom codes are chosen for."""
        decoded = self.top_decoder(top, train=train)
        return self.head(jnp.concatenate([decoded.astype(self.dtype), maps.astype(self.dtype)], axis=-1))
