"""Samplers, each as one compiled loop.

From noise to data with a `denoise(x, level) -> Prediction`, all behind one signature; and grids of integers with a `Decoder`,
position by position.
"""

from jaxgen.samplers.ancestral import ancestral, ddim
from jaxgen.samplers.autoregressive import Decoder, Warp, autoregressive, decoder_of, temperature, top_k, top_p, warp
from jaxgen.samplers.langevin import annealed_langevin
from jaxgen.samplers.ode import euler, heun
from jaxgen.samplers.sampler import Sampler, Samples, noise

__all__ = [
    "Decoder",
    "Sampler",
    "Samples",
    "Warp",
    "ancestral",
    "annealed_langevin",
    "autoregressive",
    "ddim",
    "decoder_of",
    "euler",
    "heun",
    "noise",
    "temperature",
    "top_k",
    "top_p",
    "warp",
]
