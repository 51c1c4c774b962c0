"""The first stages of latent diffusion and Stable Diffusion: functions that set fields and do nothing else.

The numbers of parameters are those of diffusers' `AutoencoderKL` and `VQModel` with the same configuration. The kernels
and biases of the authors' code begin as PyTorch's. Here kernels are drawn from a normal distribution; biases, and the last
kernel of every branch, begin at zero.
"""

from typing import Any

import jax.numpy as jnp

from jaxgen.models.first_stage.autoencoders import KLAutoencoder, VQAutoencoder
from jaxgen.models.first_stage.networks import Decoder, Encoder
from jaxgen.nn import VectorQuantiser


def kl(
    channels: int = 128,
    multipliers: tuple[int, ...] = (1, 2, 4, 4),
    latents: int = 4,
    *,
    images: int = 3,
    dtype: Any = jnp.float32,
    **fields: Any,
) -> KLAutoencoder:
    """An autoencoder with a normal posterior.

    Args:
      channels: the channels that the multipliers refer to.
      multipliers: factors of the channels by level; each level after the first halves the side.
      latents: the channels of the latents.
      images: the channels of the images.
      dtype: the dtype of the computation.
      **fields: other fields of `Encoder` and `Decoder`.
    """
    shared = {"channels": tuple(channels * factor for factor in multipliers), "dtype": dtype, **fields}
    return KLAutoencoder(Encoder(2 * latents, **shared), Decoder(images, **shared), latents, dtype)


def vq(
    channels: int = 128,
    multipliers: tuple[int, ...] = (1, 2, 4),
    latents: int = 3,
    codes: int = 8192,
    *,
    images: int = 3,
    commitment: float = 0.25,
    dtype: Any = jnp.float32,
    **fields: Any,
) -> VQAutoencoder:
    """An autoencoder with a codebook that is learned by the gradient.

    Args:
      channels: the channels that the multipliers refer to.
      multipliers: factors of the channels by level; each level after the first halves the side.
      latents: the channels of the latents, and so of a code's vector.
      codes: the number of codes.
      images: the channels of the images.
      commitment: the weight of the term that draws the encoder's vectors to their codes; the other's is one.
      dtype: the dtype of the computation.
      **fields: other fields of `Encoder` and `Decoder`.
    """
    shared = {"channels": tuple(channels * factor for factor in multipliers), "dtype": dtype, **fields}
    book = VectorQuantiser(codes, latents, commitment)
    return VQAutoencoder(Encoder(latents, **shared), Decoder(images, **shared), book, dtype)


def kl_f4(**fields: Any) -> KLAutoencoder:
    """Latent diffusion's "kl-f4", of 55.3 million parameters: 256x256 images have 64x64x3 latents."""
    return kl(multipliers=(1, 2, 4), latents=3, **fields)


def kl_f8(**fields: Any) -> KLAutoencoder:
    """Stable Diffusion's, "kl-f8", of 83.7 million parameters: 512x512 images have 64x64x4 latents."""
    return kl(**fields)


def kl_f16(**fields: Any) -> KLAutoencoder:
    """Latent diffusion's "kl-f16", of 69.6 million parameters: 256x256 images have 16x16x16 latents."""
    return kl(multipliers=(1, 1, 2, 2, 4), latents=16, attention_levels=(4,), **fields)


def kl_f32(**fields: Any) -> KLAutoencoder:
    """Latent diffusion's "kl-f32", of 103.9 million parameters: 256x256 images have 8x8x64 latents."""
    return kl(multipliers=(1, 1, 2, 2, 4, 4), latents=64, attention_levels=(4, 5), **fields)


def vq_f4(**fields: Any) -> VQAutoencoder:
    """Latent diffusion's "vq-f4", of 55.3 million parameters: 256x256 images have 64x64x3 latents and 8,192 codes."""
    return vq(**fields)


def vq_f8(**fields: Any) -> VQAutoencoder:
    """Latent diffusion's "vq-f8", with attention at the side 32: 256x256 images have 32x32x4 latents and 16,384 codes."""
    return vq(multipliers=(1, 2, 2, 4), latents=4, codes=16384, attention_levels=(3,), **fields)
