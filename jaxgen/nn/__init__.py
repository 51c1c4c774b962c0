"""Layers that the models share."""

from jaxgen.nn.attention import Attention, attend
from jaxgen.nn.conv import Conv, ConvTranspose
from jaxgen.nn.embedding import RandomFourier, Sinusoidal, sinusoidal
from jaxgen.nn.maxout import Maxout
from jaxgen.nn.norm import BatchNorm, GroupNorm, LayerNorm
from jaxgen.nn.residual import ResidualBlock

__all__ = [
    "Attention",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "GroupNorm",
    "LayerNorm",
    "Maxout",
    "RandomFourier",
    "ResidualBlock",
    "Sinusoidal",
    "attend",
    "sinusoidal",
]
