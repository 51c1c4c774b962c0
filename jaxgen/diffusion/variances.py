r"""The variance of a reverse step $p(x_{t-1} | x_t)$: of a chain, or also of what a network predicts."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.diffusion.parameterisation import Denoise
from jaxgen.diffusion.process import diffuse
from jaxgen.diffusion.schedules import Discrete
from jaxgen.errors import InputError
from jaxgen.types import Key


class VarianceRange(NamedTuple):
    r"""A range of reverse variances, from which a network chooses $s_t^2 = \mathrm{least}_t\, e^{\mathrm{span}_t (v + 1) / 2}$.

    Fields:
      least: the variances at v = -1, `[T + 1]`: those of the posterior, as in `small_variance`.
      span: the logarithms of the ratios of those at v = 1 to them, `[T + 1]`.
    """

    least: np.ndarray
    span: np.ndarray


Variance: TypeAlias = Callable[[Discrete], np.ndarray | Array | VarianceRange]
"""`variance(chain) -> [T + 1]`, that of the step from each t to t - 1; or the range in which a network chooses it."""


def small_variance(schedule: Discrete) -> np.ndarray:
    r"""$\tilde\beta_t$, `[T + 1]`: the best reverse variance for data that are a single point.

    At step 1 it is zero, and the likelihood of the data would be infinite or nothing: there the variance of step 2 is taken.
    Samplers add no noise in that step. Source: Ho et al. 2020, section 3.2, and the authors' code (`fixedsmall`).
    """
    return _with_first_of_second(schedule, schedule.posterior_variance)


def large_variance(schedule: Discrete) -> np.ndarray:
    r"""$\beta_t$, `[T + 1]`: the best reverse variance for standard normal data.

    At step 1 it is $\tilde\beta_2$, as in the authors' code, and not $\beta_1$: there it is the variance of the decoder
    $p(x_0 | x_1)$, on which a bound in bits depends. Source: Ho et al. 2020, section 3.2, and the authors' code (`fixedlarge`).
    """
    return _with_first_of_second(schedule, schedule.beta)


def learned_range(schedule: Discrete) -> VarianceRange:
    r"""$\log s_t^2 = f \log \beta_t + (1 - f) \log \tilde\beta_t$ with $f = (v + 1) / 2$: a network says where between the two.

    v is not bounded, so variances outside of the range can be learned too. Of a chain through some of the steps, the range is
    that of the new chain's steps.

    Args:
      schedule: the chain.

    Returns:
      The range, with $\tilde\beta_2$ as the lower end at step 1, where $\tilde\beta_1$ is zero.

    Source: Nichol & Dhariwal 2021, equation 15, and the authors' code (`LEARNED_RANGE`).

    >>> from jaxgen.diffusion.schedules import linear
    >>> least, span = learned_range(linear(10))
    >>> bool(np.allclose(least[1:] * np.exp(span[1:]), linear(10).beta[1:]))
    True
    """
    least = small_variance(schedule)
    return VarianceRange(least, np.append(0.0, np.log(schedule.beta[1:] / least[1:])))


def log_factor(v: Float[Array, "b *event"], span: float | Float[Array, "..."]) -> Float[Array, "b *event"]:
    r"""$\log (s_t^2 / \mathrm{least}_t) = \frac{v + 1}{2}\, \mathrm{span}_t$ of a learned variance."""
    return 0.5 * (v + 1) * span


def _with_first_of_second(schedule: Discrete, variance: np.ndarray) -> np.ndarray:
    """The variances with that of step 1 replaced by the posterior's of step 2; in a chain of one step it is beta_1."""
    first = schedule.posterior_variance[2] if schedule.steps > 1 else schedule.beta[1]
    return np.concatenate([variance[:1], [first], variance[2:]])


def noise_power(
    denoise: Denoise, schedule: Discrete, x0: Float[Array, "b *event"], key: Key, *, chunk: int = 1
) -> Float[Array, " t"]:
    r"""$\Gamma_t = E \|\hat\epsilon(x_t)\|^2 / D$ of a network at every step: how much of the noise it finds.

    A network that finds all of it has 1, and one that finds none of it 0.

    Args:
      denoise: the model, whose predictions are not clipped.
      schedule: the chain.
      x0: data, some hundred examples.
      key: the key of the noise: one key, or a key for each example, `[B]`.
      chunk: steps evaluated at once.

    Returns:
      The mean over the examples at steps 0 ... T; at step 0 there is no noise, and it is 1.

    Source: Bao et al. 2022, equation 8.
    """

    def at(t: Array) -> Float[Array, ""]:
        level = schedule.level(t)
        eps = keys.draw(jax.random.normal, keys.fold_in(key, t), x0.shape)
        return (denoise(diffuse(x0, eps, level), level).eps ** 2).mean()

    found = lax.map(at, jnp.arange(1, schedule.steps + 1), batch_size=chunk)
    return jnp.concatenate([jnp.ones(1), found])


def data_covariance(
    schedule: Discrete, power: np.ndarray | Float[Array, " t"], *, largest: float = 1.0
) -> np.ndarray | Float[Array, " t"]:
    r"""The variance of the data given x_t: the mean of the diagonal of $\mathrm{Cov}(x_0 | x_t)$, at every step.

    It is $\frac{\sigma_t^2}{\alpha_t^2} (1 - \Gamma_t)$, because the noise that was not found is what hides the data.

    Args:
      schedule: the chain.
      power: the power $\Gamma$ of the predicted noise at its steps, `[T + 1]`.
      largest: the variance that data of this range have at most; 1 of data in [-1, 1].

    Returns:
      The variances at steps 0 ... T, from 0 to the largest.

    Source: Bao et al. 2022, equations 8 and 11.
    """
    with np.errstate(divide="ignore"):
        ratio = np.where(schedule.alpha > 0, (schedule.sigma / schedule.alpha) ** 2, np.finfo(np.float32).max)
    return (ratio * (1 - power)).clip(0.0, largest)


def analytic_variance(schedule: Discrete, power: np.ndarray | Float[Array, " t"], *, largest: float = 1.0) -> Variance:
    r"""The reverse variance that fits a trained network best, $\tilde\beta_t + (\partial \tilde\mu / \partial x_0)^2\,
    \mathrm{Cov}(x_0 | x_t)$: the law of total variance over what is not known of the data.

    Args:
      schedule: the chain of which the power of the predicted noise is known.
      power: the power of its predicted noise, `[T + 1]` (`noise_power`).
      largest: the variance that data of this range have at most.

    Returns:
      The variance of this chain and of its subsequences. That of step 1, where samplers add no noise, is a decoder's, and at
      least `small_variance`'s.

    Source: Bao et al. 2022, theorem 1.
    """

    def variance(chain: Discrete) -> np.ndarray | Array:
        at = np.searchsorted(-schedule.log_snr, -chain.log_snr).clip(0, schedule.steps)
        if not np.allclose(schedule.sigma[at] * chain.alpha, chain.sigma * schedule.alpha[at], rtol=1e-6):
            raise InputError("The power of the predicted noise is not known at a step of this chain; measure it there.")
        least = np.where(np.arange(chain.steps + 1) == 1, small_variance(chain), 0.0)
        covariance = data_covariance(chain, power[at], largest=largest)
        return (chain.posterior_variance + chain.posterior_x0**2 * covariance).clip(least)

    return variance
