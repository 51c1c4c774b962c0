"""Objectives: losses in the contract's form. They take a model by its methods and never import one."""

from jaxgen.objectives.adversarial import adversarial
from jaxgen.objectives.apply import apply
from jaxgen.objectives.contrastive import clip_scale, contrastive
from jaxgen.objectives.elbo import constrained_elbo, elbo, importance_weighted, importance_weighted_bound
from jaxgen.objectives.reconstruction import reconstruction

__all__ = [
    "adversarial",
    "apply",
    "clip_scale",
    "constrained_elbo",
    "contrastive",
    "elbo",
    "importance_weighted",
    "importance_weighted_bound",
    "reconstruction",
]
