r"""Noise schedules in continuous time: $\alpha(t)$ and $\sigma(t)$, and the diffusion process whose marginals they give.

The process $dx = f(t)\, x\, dt + g(t)\, dw$ follows from them: $f = \alpha' / \alpha$ and $g^2 = -\sigma^2 \frac{d}{dt} \log
\mathrm{SNR}$ (Kingma et al. 2021, appendix; Karras et al. 2022, equation 4). So neither is written down a second time.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxgen import keys
from jaxgen.diffusion.schedules import Discrete, Level
from jaxgen.errors import InputError

OfTime = Callable[[Array], Array]
"""A function of time, element-wise."""


class Continuous(NamedTuple):
    """Times in [start, end], and alpha and sigma as differentiable functions of them.

    Fields:
      alpha: the scale of the data as a function `t -> alpha(t)`, element-wise.
      sigma: the standard deviation of the noise as a function `t -> sigma(t)`, element-wise.
      start: the least time that is drawn or sampled down to; the score grows without bound towards t = 0.
      end: the time of the most noise, from which sampling starts.
      time_of: the inverse of `log alpha(t) / sigma(t)`, element-wise; None where it is not known.
    """

    alpha: OfTime
    sigma: OfTime
    start: float = 1e-3
    end: float = 1.0
    time_of: OfTime | None = None

    def log_snr(self, t: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""$\log \alpha(t)^2 / \sigma(t)^2$."""
        return 2 * (jnp.log(self.alpha(t)) - jnp.log(self.sigma(t)))

    def drift(self, t: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""$f(t) = \alpha'(t) / \alpha(t)$."""
        return _derivative(lambda t: jnp.log(self.alpha(t)), t)

    def squared_diffusion(self, t: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""$g(t)^2 = -\sigma(t)^2 \frac{d}{dt} \log \mathrm{SNR}(t)$."""
        return -(self.sigma(t) ** 2) * _derivative(self.log_snr, t)

    def draw(self, key: Key[Array, "..."], n: int) -> Float[Array, " n"]:
        """Times, uniformly from [start, end]."""
        return keys.draw(lambda key, shape: jax.random.uniform(key, shape, jnp.float32, self.start, self.end), key, (n,))

    def level(self, t: Float[Array, "..."]) -> Level:
        """The levels at times t."""
        return Level(t, self.alpha(t), self.sigma(t))


def _derivative(of: OfTime, t: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.jvp(of, (t,), (jnp.ones_like(t),))[1]


def variance_preserving(smallest: float = 0.1, largest: float = 20.0, *, start: float = 1e-3) -> Continuous:
    r"""The limit of the linear schedule, $\log \alpha(t) = -\frac 1 4 t^2 (\beta_1 - \beta_0) - \frac 1 2 t \beta_0$.

    Args:
      smallest: beta_0, the rate of noise at t = 0.
      largest: beta_1, the rate at t = 1.
      start: the least time.

    Returns:
      A schedule with alpha^2 + sigma^2 = 1.

    Source: Song et al. 2021, equation 33.
    """
    log_alpha, time_of = _linear_rate(smallest, largest)

    def inverse(half: Array) -> Array:
        return time_of(jax.nn.softplus(-2 * half))

    return Continuous(lambda t: jnp.exp(log_alpha(t)), lambda t: jnp.sqrt(-jnp.expm1(2 * log_alpha(t))), start, time_of=inverse)


def sub_variance_preserving(smallest: float = 0.1, largest: float = 20.0, *, start: float = 1e-3) -> Continuous:
    r"""The same alpha with less noise, $\sigma = 1 - \alpha^2$.

    Args:
      smallest: beta_0, the rate of noise at t = 0.
      largest: beta_1, the rate at t = 1.
      start: the least time.

    Returns:
      The schedule.

    Source: Song et al. 2021, equation 29.
    """
    log_alpha, time_of = _linear_rate(smallest, largest)

    def inverse(half: Array) -> Array:
        return time_of(2 * jnp.arcsinh(jnp.exp(-half) / 2))

    return Continuous(lambda t: jnp.exp(log_alpha(t)), lambda t: -jnp.expm1(2 * log_alpha(t)), start, time_of=inverse)


def _linear_rate(smallest: float, largest: float) -> tuple[OfTime, OfTime]:
    """Log alpha of a rate that grows linearly, and the time at which the rate has added up to B."""

    def log_alpha(t: Array) -> Array:
        return -0.25 * t**2 * (largest - smallest) - 0.5 * t * smallest

    def time_of(total: Array) -> Array:
        return 2 * total / (smallest + jnp.sqrt(smallest**2 + 2 * (largest - smallest) * total))

    return log_alpha, time_of


def variance_preserving_cosine(*, start: float = 1e-3, end: float = 1e-3) -> Continuous:
    r"""$\alpha(t) = \cos \phi$, $\sigma(t) = \sin \phi$ with an angle that runs evenly from 0 to $\pi / 2$, less `end` of it.

    Source: Nichol & Dhariwal 2021, equation 17 without the offset; Salimans & Ho 2022.
    """
    quarter = (1 - end) * math.pi / 2
    return Continuous(
        lambda t: jnp.cos(t * quarter),
        lambda t: jnp.sin(t * quarter),
        start,
        time_of=lambda half: jnp.arctan(jnp.exp(-half)) / quarter,
    )


def variance_exploding(smallest: float = 0.01, largest: float = 50.0) -> Continuous:
    r"""$\alpha = 1$, $\sigma(t) = \sigma_{\min} (\sigma_{\max} / \sigma_{\min})^t$. Source: Song et al. 2021, equation 31."""
    ratio = math.log(largest / smallest)
    return Continuous(
        jnp.ones_like,
        lambda t: smallest * jnp.exp(t * ratio),
        0.0,
        time_of=lambda half: (-half - math.log(smallest)) / ratio,
    )


def time_is_sigma(smallest: float = 0.002, largest: float = 80.0) -> Continuous:
    r"""$\alpha = 1$, $\sigma(t) = t$: the noise itself is the time.

    Args:
      smallest: the least noise that is sampled down to.
      largest: the most noise, the end.

    Returns:
      The schedule.

    Source: Karras et al. 2022, table 1.
    """
    return Continuous(jnp.ones_like, lambda t: t, smallest, largest, time_of=lambda half: jnp.exp(-half))


def linear_path(*, start: float = 0.0, end: float = 1.0) -> Continuous:
    r"""The straight path from data to noise, $x_t = (1 - t) x_0 + t \epsilon$.

    At the ends one of the two is absent, so that of the parameterisations `VELOCITY` alone has predictions there; for others
    let it begin above 0 and end below 1. `grids.shifted` has the times of Esser et al. 2024.

    Args:
      start: the least time.
      end: the largest time.

    Returns:
      The schedule.

    Source: Lipman et al. 2023, equation 20, and Liu et al. 2023, equation 1, with time the other way round.
    """
    return Continuous(lambda t: 1 - t, lambda t: t, start, end, time_of=lambda half: jax.nn.sigmoid(-half))


def from_gamma(gamma: OfTime, *, time_of: OfTime | None = None) -> Continuous:
    r"""The variance-preserving schedule of $\gamma(t) = -\log \mathrm{SNR}(t)$, which may have parameters that are learned.

    Args:
      gamma: a function of time, element-wise, that rises over [0, 1].
      time_of: the inverse of $\frac 1 2 \log \mathrm{SNR}$; None where it is not known.

    Returns:
      $\alpha^2 = \mathrm{sigmoid}(-\gamma)$ and $\sigma^2 = \mathrm{sigmoid}(\gamma)$ over all of [0, 1].

    Source: Kingma et al. 2021, equations 3 and 4.

    >>> schedule = from_gamma(lambda t: 10 * t - 5)
    >>> schedule.log_snr(jnp.array([0.0, 0.5, 1.0])).round(3).tolist()
    [5.0, 0.0, -5.0]
    """
    return Continuous(
        lambda t: jnp.sqrt(jax.nn.sigmoid(-gamma(t))), lambda t: jnp.sqrt(jax.nn.sigmoid(gamma(t))), 0.0, time_of=time_of
    )


def on_host(of: OfTime, values: np.ndarray) -> np.ndarray:
    """A schedule's function in double precision. Not for use under `jit`.

    Args:
      of: a function of arrays, such as a schedule's alpha.
      values: the values that the function is asked at.

    Returns:
      Its values.
    """
    with jax.enable_x64(True):
        return np.asarray(of(jnp.asarray(np.asarray(values, np.float64))))


def discretised(schedule: Continuous, times: Sequence[float] | np.ndarray) -> Discrete:
    """The Markov chain through the times of a continuous schedule, and the data as its step 0. Not for use under `jit`.

    Args:
      schedule: a continuous schedule.
      times: times, ascending or, as a grid has them, descending; a time without noise is that of the data.

    Returns:
      The chain of as many steps as times, whose network gets the times.

    Raises:
      InputError: if the times do not run one way.
    """
    times = np.asarray(times, np.float64)
    times = times[::-1] if times[0] > times[-1] else times
    if (np.diff(times) <= 0).any():
        raise InputError(f"The times of a chain ascend or descend; got {times.tolist()}.")
    alpha, sigma = (on_host(f, times) for f in (schedule.alpha, schedule.sigma))
    if sigma[0] == 0:  # the data, which are step 0 anyway
        times, alpha, sigma = times[1:], alpha[1:], sigma[1:]
    return Discrete(np.concatenate([[0.0], times]), np.concatenate([[1.0], alpha]), np.concatenate([[0.0], sigma]))
