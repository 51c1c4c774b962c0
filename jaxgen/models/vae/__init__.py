"""The variational autoencoder (Kingma and Welling 2014), and hierarchies of latents."""

from jaxgen.models.vae.flow import FlowVAE
from jaxgen.models.vae.ladder import MLP, GaussianMLP, Group, Inferred, LadderVAE, MarkovVAE, PixelMLP, merged
from jaxgen.models.vae.nvae import NVAE, adaptive_groups, clamped_normal, soft_clamped
from jaxgen.models.vae.nvae_cells import DecoderCell, EncoderCell, kernels_of, scales_of
from jaxgen.models.vae.nvae_flows import ShiftFlow, ShiftFlows
from jaxgen.models.vae.nvae_presets import nvae_cifar10, nvae_mnist
from jaxgen.models.vae.vae import VAE

__all__ = [
    "MLP",
    "NVAE",
    "VAE",
    "DecoderCell",
    "EncoderCell",
    "FlowVAE",
    "GaussianMLP",
    "Group",
    "Inferred",
    "LadderVAE",
    "MarkovVAE",
    "PixelMLP",
    "ShiftFlow",
    "ShiftFlows",
    "adaptive_groups",
    "clamped_normal",
    "kernels_of",
    "merged",
    "nvae_cifar10",
    "nvae_mnist",
    "scales_of",
    "soft_clamped",
]
