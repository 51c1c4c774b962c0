"""The variational information bottleneck: a stochastic encoder, and a classifier of its code."""

from jaxgen.models.bottleneck.bottleneck import Bottleneck, DiagonalPosterior, FullPosterior

__all__ = ["Bottleneck", "DiagonalPosterior", "FullPosterior"]
