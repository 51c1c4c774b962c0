r"""Noise schedules in steps: the law $q(x_t | x_0) = N(\alpha_t x_0, \sigma_t^2 I)$ for t = 0 ... T.

A discrete schedule counts as the papers do: step 0 is the data (alpha = 1, sigma = 0) and step T the most noise, so that the
step between t - 1 and t needs no special case. Its arrays are in double precision on the host, because the variances of steps
are small differences of numbers near one; the device gets what is computed from them, in float32.
"""

import math
from collections.abc import Sequence
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
    """The protocol of a schedule, discrete or continuous, that score matching needs."""

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


def scaled_linear(steps: int = 1000, *, first: float = 0.00085, last: float = 0.012) -> Discrete:
    r"""Variances whose square roots grow linearly, $\beta_t = \left(\sqrt{\beta_1} + \frac{t - 1}{T - 1} (\sqrt{\beta_T} -
    \sqrt{\beta_1})\right)^2$.

    Args:
      steps: the number of steps T.
      first: beta_1 of a chain of 1,000 steps; one of T steps has 1,000 / T times as much, and about the same noise at the end.
      last: the last variance, beta_T, of the same chain. No variance is more than 0.999.

    Returns:
      The schedule. The defaults are those of Stable Diffusion and of latent diffusion by texts; the other models of latent
      diffusion have 0.0015 and 0.0195 or 0.0155.

    Source: the authors' code of Rombach et al. 2022, which calls it "linear".

    >>> (scaled_linear().beta[[1, 1000]]).round(5).tolist()
    [0.00085, 0.012]
    """
    return from_betas(np.minimum(np.linspace(first**0.5, last**0.5, steps) ** 2 * 1000 / steps, 0.999))


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


def spaced(schedule: Discrete, steps: int, *, first: bool = False) -> Discrete:
    """The chain through `steps` evenly spaced steps of a chain, its last one included.

    Args:
      schedule: a chain of T steps.
      steps: the number of steps to keep.
      first: whether the first step is among them, and the others are spaced by (T - 1) / (steps - 1) and not by T / steps. Then
        the decoder's step is that of the whole chain. A single step is the last one.

    Returns:
      The chain of those steps.

    Raises:
      SizeError: if the chain has fewer steps.

    Source: with the first step, Nichol & Dhariwal 2021, section 4, and the authors' code (`space_timesteps`).

    >>> spaced(linear(1000), 4).time.tolist()
    [0.0, 250.0, 500.0, 750.0, 1000.0]
    >>> spaced(linear(1000), 4, first=True).time.tolist()
    [0.0, 1.0, 334.0, 667.0, 1000.0]
    """
    if not 1 <= steps <= schedule.steps:
        raise SizeError(f"A chain of {schedule.steps} steps has no subsequence of {steps}; give from 1 to {schedule.steps}.")
    if first and steps > 1:
        return subsequence(schedule, 1 + np.round(np.linspace(0, schedule.steps - 1, steps)).astype(int))
    return subsequence(schedule, np.round(np.linspace(0, schedule.steps, steps + 1)[1:]).astype(int))
