"""Variational autoencoders, and the likelihoods that decoders end in."""

from jaxgen.models.vae.likelihoods import (
    BernoulliLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    HeteroscedasticGaussianLikelihood,
)
from jaxgen.models.vae.vae import VAE

__all__ = [
    "VAE",
    "BernoulliLikelihood",
    "DiscretizedLogisticLikelihood",
    "GaussianLikelihood",
    "HeteroscedasticGaussianLikelihood",
]
