"""Autoencoders: encoders and decoders of three kinds, and the model that joins a pair of them."""

from jaxgen.models.autoencoders import conv, mlp, residual
from jaxgen.models.autoencoders.autoencoder import Autoencoder

__all__ = ["Autoencoder", "conv", "mlp", "residual"]
