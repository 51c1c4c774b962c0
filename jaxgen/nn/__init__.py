"""Layers that the models share."""

from jaxgen.nn.conv import Conv, ConvTranspose
from jaxgen.nn.residual import ResidualBlock

__all__ = ["Conv", "ConvTranspose", "ResidualBlock"]
