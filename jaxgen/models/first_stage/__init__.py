"""Autoencoders whose latents are maps, for diffusion models of the latents."""

from jaxgen.models.first_stage.autoencoders import KLAutoencoder, VQAutoencoder
from jaxgen.models.first_stage.from_diffusers import from_diffusers
from jaxgen.models.first_stage.networks import Decoder, Encoder

__all__ = ["Decoder", "Encoder", "KLAutoencoder", "VQAutoencoder", "from_diffusers"]
