"""The VQ-VAE: an autoencoder whose code is a grid of whole numbers; and the VQ-VAE-2, whose code is two grids."""

from jaxgen.models.vqvae.networks import Decoder, Encoder
from jaxgen.models.vqvae.two_levels import Codes, TwoLevelVQVAE
from jaxgen.models.vqvae.vqvae import VQVAE

__all__ = ["VQVAE", "Codes", "Decoder", "Encoder", "TwoLevelVQVAE"]
