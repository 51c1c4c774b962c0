"""Autoencoders: encoders and decoders of several kinds, and the models that join a pair of them."""

from jaxgen.models.autoencoders import conv, mlp, residual, trunk
from jaxgen.models.autoencoders.autoencoder import Autoencoder
from jaxgen.models.autoencoders.multiscale import MultiscaleAutoencoder, PyramidDecoder
from jaxgen.models.autoencoders.sparse import SparseAutoencoder
from jaxgen.models.autoencoders.stacked import StackedAutoencoder
from jaxgen.models.autoencoders.tied import TiedAutoencoder

__all__ = [
    "Autoencoder",
    "MultiscaleAutoencoder",
    "PyramidDecoder",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "TiedAutoencoder",
    "conv",
    "mlp",
    "residual",
    "trunk",
]
