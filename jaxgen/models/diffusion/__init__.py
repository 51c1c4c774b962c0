"""Denoising networks: `(x_t, time, label or tokens) -> output`; what the output means belongs to the objective."""

from jaxgen.models.diffusion.captioned import Captioned, TokenEncoder
from jaxgen.models.diffusion.mlp import MLP
from jaxgen.models.diffusion.unet import UNet

__all__ = ["MLP", "Captioned", "TokenEncoder", "UNet"]
