"""Autoencoders: encoders and decoders of three kinds, and the model that joins a pair of them."""

from jaxgen.models.autoencoders import conv, mlp, residual
from jaxgen.models.autoencoders.autoencoder import Autoencoder
from jaxgen.models.autoencoders.sparse import SparseAutoencoder
from jaxgen.models.autoencoders.tied import TiedAutoencoder

__all__ = ["Autoencoder", "SparseAutoencoder", "TiedAutoencoder", "conv", "mlp", "residual"]
