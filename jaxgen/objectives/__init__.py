"""Objectives: losses in the contract's form. They take a model by its methods and never import one."""

from jaxgen.objectives.apply import apply
from jaxgen.objectives.elbo import constrained_elbo, elbo, importance_weighted, importance_weighted_bound
from jaxgen.objectives.reconstruction import reconstruction

__all__ = ["apply", "constrained_elbo", "elbo", "importance_weighted", "importance_weighted_bound", "reconstruction"]
