"""The variational autoencoder (Kingma and Welling 2014), and hierarchies of latents."""

from jaxgen.models.vae.flow import FlowVAE
from jaxgen.models.vae.ladder import MLP, GaussianMLP, Group, Inferred, LadderVAE, MarkovVAE, PixelMLP, merged
from jaxgen.models.vae.vae import VAE

__all__ = ["MLP", "VAE", "FlowVAE", "GaussianMLP", "Group", "Inferred", "LadderVAE", "MarkovVAE", "PixelMLP", "merged"]
