"""The variational autoencoder (Kingma and Welling 2014)."""

from jaxgen.models.vae.flow import FlowVAE
from jaxgen.models.vae.vae import VAE

__all__ = ["VAE", "FlowVAE"]
