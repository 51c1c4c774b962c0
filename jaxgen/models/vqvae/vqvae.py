"""The autoencoder with a discrete code."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.nn import Conv, Quantised


class VQVAE(nn.Module):
    """An autoencoder whose code is a grid of whole numbers from 0 to K - 1.

    A 1x1 convolution brings the encoder's feature maps to D channels. The vector of each place is replaced by the nearest of
    a codebook, and the decoder makes an image of these.

    A second stage learns the distribution of the codes and leaves this model as it is. With the module and its variables
    (`jaxgen.frozen`), it takes the codes of images by `module.apply(variables, x, method="encode")`, and the images of codes by
    `module.apply(variables, codes, method="decode")`. Neither draws random numbers or changes the codebook. The number K of
    codes is `module.quantiser.codes`, their grid is `module.grid`, and the shape of an image is `module.decoder.shape`.

    Source: van den Oord et al. 2017, sections 3.1 and 3.2.

    Fields:
      encoder: the encoder, `[B, H, W, C]` to feature maps `[B, h, w, F]`.
      decoder: the decoder, vectors of codes `[B, h, w, D]` to images `[B, H, W, C]`; its `grid` is (h, w).
      quantiser: the quantiser with the codebook, such as `nn.VectorQuantiserEMA`.
      dtype: the dtype of the 1x1 convolution; the quantiser and the images are float32.

    >>> from jaxgen.models.vqvae import Decoder, Encoder
    >>> from jaxgen.nn import VectorQuantiserEMA
    >>> module = VQVAE(Encoder((8,)), Decoder((8, 8, 1), (8,)), VectorQuantiserEMA(16, 4))
    >>> module.quantiser.codes, module.grid
    (16, (4, 4))
    """

    encoder: nn.Module
    decoder: Any
    quantiser: Any
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the 1x1 convolution before the quantiser."""
        self.head = Conv(self.quantiser.features, (1, 1), dtype=self.dtype)

    @property
    def grid(self) -> tuple[int, int]:
        """The height and the width of the grid of codes of an image."""
        return self.decoder.grid

    def __call__(
        self, x: Float[Array, "b h w c"], mask: Float[Array, " b"] | None = None, *, train: bool = False
    ) -> tuple[Float[Array, "b h w c"], Quantised]:
        """Reconstructs images.

        Args:
          x: images.
          mask: a mask that is zero for the examples that only fill the batch up; averages of a codebook leave them out.
          train: whether the codebook moves.

        Returns:
          The reconstructions, and what the quantiser made of the batch: codes, loss and perplexity.
        """
        quantised = self.quantiser(self._vectors(x, train), mask=mask, train=train)
        return self._images(quantised.vectors, train), quantised

    def encode(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Int[Array, "b h2 w2"]:
        """The codes of images, int32. The codebook does not move."""
        return self.quantiser(self._vectors(x, train)).codes

    def decode(self, codes: Int[Array, "b h2 w2"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """The images of codes, in float32; nan for a number that is no code."""
        return self._images(self.quantiser.lookup(codes), train)

    def reconstruct(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """The images of the codes of images. The codebook does not move."""
        return self.decode(self.encode(x, train=train), train=train)

    def _vectors(self, x: Array, train: bool) -> Array:
        return self.head(self.encoder(x, train=train))

    def _images(self, vectors: Array, train: bool) -> Array:
        return self.decoder(vectors, train=train).astype(jnp.float32)
