"""Samplers: from noise to data with a `denoise(x, level) -> Prediction`, each as one compiled loop behind one signature."""

from jaxgen.samplers.ancestral import ancestral, ddim
from jaxgen.samplers.langevin import annealed_langevin
from jaxgen.samplers.ode import euler, heun
from jaxgen.samplers.sampler import Sampler, Samples, noise

__all__ = ["Sampler", "Samples", "ancestral", "annealed_langevin", "ddim", "euler", "heun", "noise"]
