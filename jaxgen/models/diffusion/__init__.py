"""Denoising networks: `(x_t, time, label) -> output`; what the output means belongs to the objective."""

from jaxgen.models.diffusion.mlp import MLP
from jaxgen.models.diffusion.unet import UNet

__all__ = ["MLP", "UNet"]
