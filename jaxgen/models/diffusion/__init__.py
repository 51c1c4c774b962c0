"""Denoising networks: `(x_t, time, label or tokens) -> output`; what the output means belongs to the objective."""

from jaxgen.models.diffusion.attention import CrossAttention, SelfAttention, SpatialTransformer
from jaxgen.models.diffusion.captioned import Captioned, ClassToken, TokenEncoder
from jaxgen.models.diffusion.dit import AdaptiveBlock, DiT
from jaxgen.models.diffusion.encoder import UNetEncoder
from jaxgen.models.diffusion.from_diffusers import dit_from_diffusers, from_diffusers
from jaxgen.models.diffusion.gamma import FixedGamma, LinearGamma, MonotoneGamma
from jaxgen.models.diffusion.mlp import MLP
from jaxgen.models.diffusion.noise_power import NoisePower
from jaxgen.models.diffusion.noisy_classifier import AttentionPool, NoisyClassifier
from jaxgen.models.diffusion.pyramid import ResidualPyramid, SkipPyramid
from jaxgen.models.diffusion.unet import UNet
from jaxgen.models.diffusion.vdm import VDM, waves

__all__ = [
    "MLP",
    "VDM",
    "AdaptiveBlock",
    "AttentionPool",
    "Captioned",
    "ClassToken",
    "CrossAttention",
    "DiT",
    "FixedGamma",
    "LinearGamma",
    "MonotoneGamma",
    "NoisePower",
    "NoisyClassifier",
    "ResidualPyramid",
    "SelfAttention",
    "SkipPyramid",
    "SpatialTransformer",
    "TokenEncoder",
    "UNet",
    "UNetEncoder",
    "dit_from_diffusers",
    "from_diffusers",
    "waves",
]
