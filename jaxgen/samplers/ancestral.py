"""Samplers that walk a Markov chain of noise levels backwards: ancestral sampling and DDIM."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxgen.diffusion import Denoise, Discrete, posterior, small_variance
from jaxgen.samplers.sampler import Sampler, Samples, iterate


def ancestral(schedule: Discrete, *, variance: Callable[[Discrete], np.ndarray] = small_variance) -> Sampler:
    r"""Samples $x_{t-1} \sim N(\tilde\mu_t(x_t, \hat x_0), s_t^2 I)$ from t = T to 1; the last step adds no noise.

    A predicted x_0 is clipped by the `denoise` that makes it (`diffusion.denoiser`).

    Args:
      schedule: the chain, or a `subsequence` of it.
      variance: the variance of the reverse steps, `small_variance` ($\tilde\beta_t$) or `large_variance` ($\beta_t$).

    Returns:
      The sampler.

    Source: Ho et al. 2020, algorithm 2; of a subsequence: Nichol & Dhariwal 2021, section 4.
    """
    std = np.sqrt(variance(schedule))
    std[1] = 0.0

    def sampler(denoise: Denoise, x_start: Array, key: PRNGKeyArray, *, trajectory: int = 0) -> Samples:
        stds = jnp.asarray(std, jnp.float32)

        def step(j: Array, x: Array) -> Array:
            t = schedule.steps - j
            mean, _ = posterior(schedule, t, denoise(x, schedule.level(t)).x0, x)
            return mean + stds[t] * jax.random.normal(jax.random.fold_in(key, j), x.shape)

        return iterate(step, x_start, schedule.steps, trajectory)

    return sampler


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
    std = eta * np.sqrt(schedule.posterior_variance)
    kept = np.sqrt(np.maximum(np.concatenate([[0.0], schedule.sigma[:-1]]) ** 2 - std**2, 0.0))

    def sampler(denoise: Denoise, x_start: Array, key: PRNGKeyArray, *, trajectory: int = 0) -> Samples:
        alphas, kepts, stds = (jnp.asarray(a, jnp.float32) for a in (schedule.alpha, kept, std))

        def step(j: Array, x: Array) -> Array:
            t = schedule.steps - j
            x0, eps = denoise(x, schedule.level(t))
            x = alphas[t - 1] * x0 + kepts[t] * eps
            return x if eta == 0 else x + stds[t] * jax.random.normal(jax.random.fold_in(key, j), x.shape)

        return iterate(step, x_start, schedule.steps, trajectory)

    return sampler
