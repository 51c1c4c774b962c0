"""The VQ-VAE: an autoencoder whose code is a grid of whole numbers."""

from jaxgen.models.vqvae.networks import Decoder, Encoder
from jaxgen.models.vqvae.vqvae import VQVAE

__all__ = ["VQVAE", "Decoder", "Encoder"]
