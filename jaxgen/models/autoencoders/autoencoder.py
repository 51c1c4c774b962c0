"""The autoencoder."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Autoencoder(nn.Module):
    """A bottleneck between an encoder and a decoder.

    Source: Hinton & Salakhutdinov 2006. The output is a distribution over the input, so that the same losses serve binary,
    real and byte-valued images.

    Fields:
      encoder: the encoder, `[B, H, W, C]` to features `[B, F]`.
      decoder: the decoder, code `[B, L]` to `[B, H, W, C * n]`, n numbers an element as the likelihood wants them.
      likelihood: the decoder's output to a distribution over `[B, H, W, C]`.
      latents: the number of latents L.
    """

    encoder: nn.Module
    decoder: nn.Module
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
        """The distribution over images of a code."""
        return self.likelihood(self.decoder(z, train=train))

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Any:
        """The distribution over images of the code of an image."""
        return self.decode(self.encode(x, train=train), train=train)
