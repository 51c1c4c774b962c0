"""Samplers that walk a Markov chain of noise levels backwards, one network evaluation a step."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from jaxgen.diffusion import Discrete, Variance, small_variance
from jaxgen.samplers import tables
from jaxgen.samplers.march import march
from jaxgen.samplers.sampler import Sampler
from jaxgen.samplers.tables import Column

Methods: TypeAlias = Mapping[str, Callable[[Discrete], Sampler]]
"""Samplers of a chain by the names that a flag has."""


def ancestral(schedule: Discrete, *, variance: Variance = small_variance) -> Sampler:
    r"""Samples $x_{t-1} \sim N(\tilde\mu_t(x_t, \hat x_0), s_t^2 I)$ from t = T to 1; the last step adds no noise.

    A predicted x_0 is clipped by the `denoise` that makes it (`diffusion.denoiser`).

    Args:
      schedule: the chain, or a `subsequence` of it.
      variance: the variance of the reverse steps: `small_variance` ($\tilde\beta_t$), `large_variance` ($\beta_t$), that
        which fits the network (`analytic_variance`), or that which the network has learned (`learned_range`).

    Returns:
      The sampler.

    Source: Ho et al. 2020, algorithm 2; of a subsequence: Nichol & Dhariwal 2021, section 4.
    """
    return march(tables.ancestral(schedule, variance))


def ddim(schedule: Discrete, *, eta: float = 0.0) -> Sampler:
    r"""Denoising diffusion implicit models: the predicted noise, in part or in whole, is put back in place of a new one.

    $x_{t-1} = \alpha_{t-1} \hat x_0 + \sqrt{\sigma_{t-1}^2 - s_t^2}\, \hat\epsilon + s_t z$, $s_t^2 = \eta^2 \tilde\beta_t$.
    With eta = 0 it is deterministic, and tends to the probability-flow ODE as the steps get shorter; with eta = 1 it is
    ancestral sampling with the small variance.

    Args:
      schedule: the chain, or a `subsequence` of it.
      eta: share of the posterior's standard deviation.

    Returns:
      The sampler.

    Source: Song et al. 2020 (DDIM), equations 12 and 16.
    """
    return march(tables.ddim(schedule, eta))


def dpm_solver_pp(schedule: Discrete, *, order: int = 2, stochastic: bool = False) -> Sampler:
    """DPM-Solver++ (2M), which extrapolates the predicted data, for few steps.

    Args:
      schedule: the chain.
      order: the order, 1 or 2.
      stochastic: whether to solve the SDE and not the ODE.

    Returns:
      The sampler.

    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2.
    """
    return march(tables.dpm_solver_pp(schedule, order=order, stochastic=stochastic))


def unipc(schedule: Discrete, *, order: int = 2) -> Sampler:
    """UniPC, which predicts and corrects with one network evaluation a step, for few steps.

    Args:
      schedule: the chain.
      order: the order of the predictor, from 1 to 3.

    Returns:
      The sampler. It draws nothing.

    Source: Zhao et al. 2023, algorithms 5 and 6 with B(h) = e^h - 1.
    """
    predictor, corrector = tables.unipc(schedule, order=order)
    return march(predictor, corrector=corrector)


def multistep_consistency(schedule: Discrete) -> Sampler:
    r"""Samples of a consistency model: the data are predicted and noised anew, $x_s = \alpha_s \hat x_0 + \sigma_s z$.

    Args:
      schedule: the chain of the levels at which the network is evaluated; one level makes one step.

    Returns:
      The sampler.

    Source: Song et al. 2023, algorithm 1.
    """
    return march(tables.renoised(schedule))


def analytic(schedule: Discrete, covariance: Column, *, eta: float = 1.0, largest_last: float = 1.0) -> Sampler:
    r"""Ancestral sampling or DDIM with the reverse variance that fits the network best, $\eta^2 \tilde\beta_t + B^2\,
    \mathrm{Cov}(x_0 | x_t)$.

    Args:
      schedule: the chain, or a `subsequence` of it.
      covariance: the variance of the data given x_t at the chain's steps, `[T + 1]` (`diffusion.data_covariance`).
      eta: the share of the posterior's standard deviation that DDIM has; 1 is ancestral sampling.
      largest_last: the largest standard deviation of the last noise, in the data's units; noise there stays visible.

    Returns:
      The sampler.

    Source: Bao et al. 2022, theorem 1 and equation 12; the bound on the last noise: the authors' code (`clip_pixel`).
    """
    return march(tables.capped(tables.with_covariance(tables.ddim(schedule, eta), covariance), largest_last))


OnChain: TypeAlias = Literal["ancestral", "ddim", "dpm_solver_pp", "unipc"]
"""The names of `ON_CHAIN` as the type of a flag."""
ON_CHAIN: Methods = {
    "ancestral": ancestral,
    "ddim": ddim,
    "dpm_solver_pp": dpm_solver_pp,
    "unipc": unipc,
}
"""The samplers that need a chain of levels alone, and draw from any model, by the names that a flag has."""
