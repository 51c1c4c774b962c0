"""Samplers, each as one compiled loop.

From noise to data with a `denoise(x, level) -> Prediction`, all behind one signature; and grids of integers with a `Decoder`,
position by position.
"""

from jaxgen.samplers.adaptive import dopri5
from jaxgen.samplers.ancestral import (
    ON_CHAIN,
    Methods,
    OnChain,
    analytic,
    ancestral,
    ddim,
    dpm_solver_pp,
    multistep_consistency,
    unipc,
)
from jaxgen.samplers.autoregressive import Decoder, Warp, autoregressive, decoder_of, temperature, top_k, top_p, warp
from jaxgen.samplers.langevin import annealed_langevin
from jaxgen.samplers.march import march
from jaxgen.samplers.ode import euler, heun
from jaxgen.samplers.pixels import pixel_by_pixel
from jaxgen.samplers.predictor_corrector import predictor_corrector
from jaxgen.samplers.sampler import Sampler, Samples, noise
from jaxgen.samplers.two_stage import Churn, heun_in_noise
from jaxgen.samplers.variational import along_gamma

__all__ = [
    "ON_CHAIN",
    "Churn",
    "Decoder",
    "Methods",
    "OnChain",
    "Sampler",
    "Samples",
    "Warp",
    "along_gamma",
    "analytic",
    "ancestral",
    "annealed_langevin",
    "autoregressive",
    "ddim",
    "decoder_of",
    "dopri5",
    "dpm_solver_pp",
    "euler",
    "heun",
    "heun_in_noise",
    "march",
    "multistep_consistency",
    "noise",
    "pixel_by_pixel",
    "predictor_corrector",
    "temperature",
    "top_k",
    "top_p",
    "unipc",
    "warp",
]
