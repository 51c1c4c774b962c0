"""Autoencoders whose latents are maps, kept small by a normal posterior or by a codebook: latent diffusion's first stages."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.distributions import Normal, sum_event
from jaxgen.nn import Conv
from jaxgen.types import Key

LOG_VARIANCES = (-30.0, 20.0)
"""The least and the largest log-variance of a posterior."""


class KLAutoencoder(nn.Module):
    r"""An autoencoder with a normal posterior $q(z | x)$ at each place of a map ("KL-reg").

    The encoder's maps pass a 1x1 convolution and give means and log-variances, which are limited to [-30, 20]. The latents
    pass a 1x1 convolution before the decoder.

    Source: Rombach et al. 2022, section 3.1 and appendix G; the limits are those of the authors' code.

    Fields:
      encoder: the encoder, `[B, H, W, C]` to maps `[B, h, w, 2 D]`.
      decoder: the decoder, maps `[B, h, w, D]` to images `[B, H, W, C]`.
      latents: the channels D of the latents.
      dtype: the dtype of the 1x1 convolutions; latents and images are float32.

    >>> import jax
    >>> from jaxgen.models.first_stage import Decoder, Encoder
    >>> module, x = KLAutoencoder(Encoder(4, (8, 8)), Decoder(1, (8, 8)), latents=2), jnp.ones((3, 8, 8, 1))
    >>> variables = module.init(jax.random.key(0), x)
    >>> module.apply(variables, x, method="to_latents").shape
    (3, 4, 4, 2)
    """

    encoder: nn.Module
    decoder: nn.Module
    latents: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the 1x1 convolutions."""
        self.before = Conv(2 * self.latents, (1, 1), dtype=self.dtype)
        self.after = Conv(self.latents, (1, 1), dtype=self.dtype)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """The images of the means of the latents of images."""
        return self.from_latents(self.to_latents(x, train=train), train=train)

    def posterior(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Normal:
        """The posterior $q(z | x)$ of each image's latents, `[B, h, w, D]`."""
        mean, log_variance = jnp.split(self.before(self.encoder(x)).astype(jnp.float32), 2, axis=-1)
        return Normal(mean, jnp.exp(0.5 * jnp.clip(log_variance, *LOG_VARIANCES)))

    def bottleneck(
        self,
        x: Float[Array, "b h w c"],
        key: Key | None = None,
        mask: Float[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "b h2 w2 d"], Float[Array, " b"]]:
        r"""The latents that the decoder sees of images, and the cost of the posterior.

        Args:
          x: images.
          key: the key of the draws, or a key for each image; without one the latents are the means.
          mask: a mask that is zero for the examples that only fill the batch up; nothing here depends on them.
          train: whether the model is trained.

        Returns:
          Latents, and $KL(q(z | x) \| N(0, I))$ of each image, summed over its latents.
        """
        q = self.posterior(x, train=train)
        return jnp.asarray(q.mean) if key is None else q.sample(key), sum_event(q.kl(Normal()))

    def to_latents(
        self, x: Float[Array, "b h w c"], key: Key | None = None, *, train: bool = False
    ) -> Float[Array, "b h2 w2 d"]:
        """The latents of images: with a key, or a key for each image, draws from the posterior, and without one its means."""
        return self.bottleneck(x, key, train=train)[0]

    def decode(self, z: Float[Array, "b h w d"], *, train: bool = False) -> Float[Array, "b h2 w2 c"]:
        """The images of what the decoder sees: of latents."""
        return self.decoder(self.after(z))

    def from_latents(self, z: Float[Array, "b h w d"], *, train: bool = False) -> Float[Array, "b h2 w2 c"]:
        """The images of latents."""
        return self.decode(z, train=train)


class VQAutoencoder(nn.Module):
    """An autoencoder whose decoder sees each place's nearest vector of a codebook ("VQ-reg").

    1x1 convolutions come before the codebook and after it. The latents are the vectors before they are quantised, so a model
    of the latents need not know of the codebook, which is a part of the decoder.

    Source: Rombach et al. 2022, section 3.1 and appendix G; Esser et al. 2021.

    Fields:
      encoder: the encoder, `[B, H, W, C]` to maps `[B, h, w, D]`.
      decoder: the decoder, maps `[B, h, w, D]` to images `[B, H, W, C]`.
      quantiser: the quantiser with the codebook, such as `nn.VectorQuantiser`; its `features` are the channels D.
      dtype: the dtype of the 1x1 convolutions; latents and images are float32.
    """

    encoder: nn.Module
    decoder: nn.Module
    quantiser: Any
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the 1x1 convolutions."""
        self.before = Conv(self.quantiser.features, (1, 1), dtype=self.dtype)
        self.after = Conv(self.quantiser.features, (1, 1), dtype=self.dtype)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """The images of the codes of images."""
        return self.from_latents(self.to_latents(x, train=train), train=train)

    def bottleneck(
        self,
        x: Float[Array, "b h w c"],
        key: Key | None = None,
        mask: Float[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "b h2 w2 d"], Float[Array, " b"]]:
        """The vectors that the decoder sees of images, and the cost of the codebook.

        Args:
          x: images.
          key: a key that nothing is drawn with.
          mask: a mask that is zero for the examples that only fill the batch up.
          train: whether the codebook moves, where it is one of running averages.

        Returns:
          The vectors of the codes, and the loss of the quantiser for each image.
        """
        quantised = self.quantiser(self.to_latents(x, train=train), mask=mask, train=train)
        return quantised.vectors, quantised.loss

    def to_latents(
        self, x: Float[Array, "b h w c"], key: Key | None = None, *, train: bool = False
    ) -> Float[Array, "b h2 w2 d"]:
        """The latents of images before they are quantised; nothing is drawn."""
        return self.before(self.encoder(x)).astype(jnp.float32)

    def codes(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Int[Array, "b h2 w2"]:
        """The numbers of the codes of images."""
        return self.quantiser(self.to_latents(x)).codes

    def decode(self, z: Float[Array, "b h w d"], *, train: bool = False) -> Float[Array, "b h2 w2 c"]:
        """The images of what the decoder sees: of vectors of the codebook."""
        return self.decoder(self.after(z))

    def from_latents(self, z: Float[Array, "b h w d"], *, train: bool = False) -> Float[Array, "b h2 w2 c"]:
        """The images of latents, which are quantised first."""
        return self.decode(self.quantiser(z).vectors, train=train)
