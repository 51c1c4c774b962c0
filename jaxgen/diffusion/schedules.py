r"""Noise schedules: the law $q(x_t | x_0) = N(\alpha_t x_0, \sigma_t^2 I)$ for steps t = 0 ... T, or for t in [0, 1].

A discrete schedule counts as the papers do: step 0 is the data (alpha = 1, sigma = 0) and step T the most noise, so that the
step between t - 1 and t needs no special case. Its arrays are in double precision on the host, because the variances of steps
are small differences of numbers near one; the device gets what is computed from them, in float32.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxgen import keys
from jaxgen.errors import SizeError


class Level(NamedTuple):
    """Levels of noise, one for all examples (scalars) or one each (`[B]`).

    Fields:
      time: the time that a network is given.
      alpha: scale of the data.
      sigma: standard deviation of the noise.
    """

    time: Float[Array, "..."]
    alpha: Float[Array, "..."]
    sigma: Float[Array, "..."]


@runtime_checkable
class NoiseSchedule(Protocol):
    """What score matching asks of a schedule, discrete or continuous."""

    def draw(self, key: Key[Array, "..."], n: int) -> Array:
        """Uniform steps or times, `[n]`, drawn with one key, or with a key for each, `[n]`."""

    def level(self, t: Array) -> Level:
        """The levels at steps or times t."""


class Discrete(NamedTuple):
    """The steps 0 ... T of a Markov chain, arrays `[T + 1]` in double precision.

    Fields:
      time: the time that a network is given at a step.
      alpha: the scale of the data at each step, 1 at step 0.
      sigma: the standard deviation of the noise at each step, 0 at step 0, and growing relative to alpha.
    """

    time: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alpha) - 1

    @property
    def scale(self) -> np.ndarray:
        r"""$\alpha_{t|t-1} = \alpha_t / \alpha_{t-1}$, the mean's factor in $q(x_t | x_{t-1})$; 1 at step 0."""
        return np.concatenate([[1.0], self.alpha[1:] / self.alpha[:-1]])

    @property
    def beta(self) -> np.ndarray:
        r"""$\beta_t = \sigma_t^2 - \alpha_{t|t-1}^2 \sigma_{t-1}^2$, the variance of $q(x_t | x_{t-1})$; 0 at step 0."""
        return np.concatenate([[0.0], self.sigma[1:] ** 2 - (self.scale[1:] * self.sigma[:-1]) ** 2])

    @property
    def posterior_variance(self) -> np.ndarray:
        r"""$\tilde\beta_t = \beta_t \sigma_{t-1}^2 / \sigma_t^2$, that of $q(x_{t-1} | x_t, x_0)$; 0 at steps 0 and 1."""
        return np.concatenate([[0.0], self.beta[1:] * (self.sigma[:-1] / self.sigma[1:]) ** 2])

    @property
    def posterior_x0(self) -> np.ndarray:
        r"""$\alpha_{t-1} \beta_t / \sigma_t^2$, the weight of x_0 in the mean of $q(x_{t-1} | x_t, x_0)$."""
        return np.concatenate([[1.0], self.alpha[:-1] * self.beta[1:] / self.sigma[1:] ** 2])

    @property
    def posterior_xt(self) -> np.ndarray:
        r"""$\alpha_{t|t-1} \sigma_{t-1}^2 / \sigma_t^2$, the weight of x_t in the mean of $q(x_{t-1} | x_t, x_0)$."""
        return np.concatenate([[0.0], self.scale[1:] * (self.sigma[:-1] / self.sigma[1:]) ** 2])

    @property
    def log_snr(self) -> np.ndarray:
        r"""$\log \alpha_t^2 / \sigma_t^2$; infinite at step 0."""
        with np.errstate(divide="ignore"):
            return 2 * (np.log(self.alpha) - np.log(self.sigma))

    def draw(self, key: Key[Array, "..."], n: int) -> Int[Array, " n"]:
        """Steps, uniformly from 1 ... T."""
        return keys.draw(lambda key, shape: jax.random.randint(key, shape, 1, self.steps + 1), key, (n,))

    def level(self, t: Int[Array, "..."] | int) -> Level:
        """The levels at steps t."""
        return Level(*(jnp.asarray(a, jnp.float32)[t] for a in self))


class Continuous(NamedTuple):
    """Times in [start, 1], and alpha and sigma as differentiable functions of them.

    Fields:
      alpha: the scale of the data as a function `t -> alpha(t)`, element-wise.
      sigma: the standard deviation of the noise as a function `t -> sigma(t)`, element-wise.
      start: the least time that is drawn or sampled down to; the score grows without bound towards t = 0.
    """

    alpha: Callable[[Array], Array]
    sigma: Callable[[Array], Array]
    start: float = 1e-3

    def log_snr(self, t: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""$\log \alpha(t)^2 / \sigma(t)^2$."""
        return 2 * (jnp.log(self.alpha(t)) - jnp.log(self.sigma(t)))

    def draw(self, key: Key[Array, "..."], n: int) -> Float[Array, " n"]:
        """Times, uniformly from [start, 1]."""
        return keys.draw(lambda key, shape: jax.random.uniform(key, shape, jnp.float32, self.start, 1.0), key, (n,))

    def level(self, t: Float[Array, "..."]) -> Level:
        """The levels at times t."""
        return Level(t, self.alpha(t), self.sigma(t))


def from_betas(betas: Sequence[float] | np.ndarray) -> Discrete:
    r"""The variance-preserving chain $q(x_t | x_{t-1}) = N(\sqrt{1 - \beta_t} x_{t-1}, \beta_t I)$.

    Args:
      betas: beta_1 ... beta_T, in (0, 1).

    Returns:
      A schedule with $\alpha_t^2 = \bar\alpha_t = \prod_{s \le t} (1 - \beta_s)$, $\sigma_t^2 = 1 - \bar\alpha_t$ and time t.

    Raises:
      SizeError: if a beta is not in (0, 1).

    Source: Ho et al. 2020, equations 2 and 4.

    >>> schedule = from_betas([0.1, 0.2])
    >>> (schedule.alpha**2).round(2).tolist(), schedule.beta.round(2).tolist()
    ([1.0, 0.9, 0.72], [0.0, 0.1, 0.2])
    """
    betas = np.asarray(betas, np.float64)
    if not ((betas > 0) & (betas < 1)).all():
        raise SizeError("The variance of a step lies between 0 and 1; take a longer chain, which has smaller ones.")
    # By logarithms, because 1 - alpha^2 would cancel while it is small.
    log_alpha_bar = np.concatenate([[0.0], np.cumsum(np.log1p(-betas))])
    time = np.arange(len(betas) + 1.0)
    return Discrete(time, np.exp(log_alpha_bar / 2), np.sqrt(-np.expm1(log_alpha_bar)))


def linear(steps: int = 1000, *, first: float | None = None, last: float | None = None) -> Discrete:
    """Variances that grow linearly.

    Args:
      steps: the number of steps T.
      first: beta_1; by default 0.1 / T, which is the paper's 1e-4 at T = 1000 and about the same noise at the end otherwise.
      last: beta_T; by default 20 / T, the paper's 0.02 at T = 1000.

    Returns:
      The schedule.

    Source: Ho et al. 2020, section 4; the scaling with T: Nichol & Dhariwal 2021, and Song et al. 2021 for its limit.
    """
    return from_betas(
        np.linspace(0.1 / steps if first is None else first, min(20 / steps, 0.999) if last is None else last, steps)
    )


def cosine(steps: int = 1000, *, offset: float = 0.008, largest: float = 0.999) -> Discrete:
    r"""$\bar\alpha_t = f(t) / f(0)$ with $f(t) = \cos^2\left(\frac{t / T + s}{1 + s} \frac \pi 2\right)$.

    Args:
      steps: the number of steps T.
      offset: the offset s, which keeps the first steps from being too small.
      largest: bound on a step's beta, which keeps the last from being 1.

    Returns:
      The schedule.

    Source: Nichol & Dhariwal 2021, equation 17.
    """
    f = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * math.pi / 2) ** 2
    return from_betas(np.minimum(1 - f[1:] / f[:-1], largest))


def geometric(levels: int = 10, *, smallest: float = 0.01, largest: float = 1.0) -> Discrete:
    r"""Noise that is added to the data as it is, $q(x_i | x_0) = N(x_0, \sigma_i^2 I)$, with geometric $\sigma_i$.

    Args:
      levels: the number of levels L.
      smallest: sigma of step 1, in the data's units; the paper numbers the other way around.
      largest: sigma of step L: about the largest distance between two examples.

    Returns:
      A schedule with alpha = 1, whose time is log sigma.

    Source: Song & Ermon 2019, section 4.1; Song & Ermon 2020, technique 1.
    """
    sigma = np.geomspace(smallest, largest, levels)
    time = np.log(sigma)
    return Discrete(np.concatenate([time[:1], time]), np.ones(levels + 1), np.concatenate([[0.0], sigma]))


def subsequence(schedule: Discrete, steps: Sequence[int] | np.ndarray) -> Discrete:
    """A shorter chain through some of a chain's steps, with the same marginals and the times that the network knows.

    Args:
      schedule: a chain of T steps.
      steps: the steps to keep, ascending, from 1 ... T.

    Returns:
      The chain of those steps.

    Raises:
      ValueError: if the steps do not ascend, or are not of the chain.

    Source: Song et al. 2020 (DDIM), section 4.2; Nichol & Dhariwal 2021, equation 19.
    """
    kept = np.concatenate([[0], np.asarray(steps, np.int64)])
    if (np.diff(kept) < 1).any() or kept[-1] > schedule.steps:
        raise ValueError(f"steps ascend from 1 to {schedule.steps}; got {list(steps)}")
    return Discrete(*(a[kept] for a in schedule))


def spaced(schedule: Discrete, steps: int) -> Discrete:
    """The chain through `steps` evenly spaced steps of a chain, its last one included.

    >>> spaced(linear(1000), 4).time.tolist()
    [0.0, 250.0, 500.0, 750.0, 1000.0]
    """
    if not 1 <= steps <= schedule.steps:
        raise SizeError(f"A chain of {schedule.steps} steps has no subsequence of {steps}; give from 1 to {schedule.steps}.")
    return subsequence(schedule, np.round(np.linspace(0, schedule.steps, steps + 1)[1:]).astype(int))


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

    def log_alpha(t: Array) -> Array:
        return -0.25 * t**2 * (largest - smallest) - 0.5 * t * smallest

    return Continuous(lambda t: jnp.exp(log_alpha(t)), lambda t: jnp.sqrt(-jnp.expm1(2 * log_alpha(t))), start)


def variance_preserving_cosine(*, start: float = 1e-3, end: float = 1e-3) -> Continuous:
    r"""$\alpha(t) = \cos \phi$, $\sigma(t) = \sin \phi$ with an angle that runs evenly from 0 to $\pi / 2$, less `end` of it.

    Source: Nichol & Dhariwal 2021, equation 17 without the offset; Salimans & Ho 2022.
    """
    quarter = (1 - end) * math.pi / 2
    return Continuous(lambda t: jnp.cos(t * quarter), lambda t: jnp.sin(t * quarter), start)


def variance_exploding(smallest: float = 0.01, largest: float = 50.0) -> Continuous:
    r"""$\alpha = 1$, $\sigma(t) = \sigma_{\min} (\sigma_{\max} / \sigma_{\min})^t$. Source: Song et al. 2021, equation 31."""
    ratio = math.log(largest / smallest)
    return Continuous(jnp.ones_like, lambda t: smallest * jnp.exp(t * ratio), 0.0)


def discretised(schedule: Continuous, times: Sequence[float] | np.ndarray) -> Discrete:
    """The Markov chain through the times of a continuous schedule, and the data as its step 0. Not for use under `jit`.

    Args:
      schedule: a continuous schedule.
      times: ascending.

    Returns:
      The chain of as many steps as times, whose network is told the times.
    """
    times = np.asarray(times, np.float64)
    with jax.enable_x64(True):
        alpha, sigma = (np.asarray(f(jnp.asarray(times))) for f in (schedule.alpha, schedule.sigma))
    return Discrete(np.concatenate([[0.0], times]), np.concatenate([[1.0], alpha]), np.concatenate([[0.0], sigma]))


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


def _with_first_of_second(schedule: Discrete, variance: np.ndarray) -> np.ndarray:
    """The variances with that of step 1 replaced by the posterior's of step 2; in a chain of one step it is beta_1."""
    first = schedule.posterior_variance[2] if schedule.steps > 1 else schedule.beta[1]
    return np.concatenate([variance[:1], [first], variance[2:]])
