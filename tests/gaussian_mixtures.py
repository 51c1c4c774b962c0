"""Data laws whose exact denoiser is known: mixtures of Gaussians in one dimension, and numbers drawn by their quantiles."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxgen.diffusion import Level, Prediction, expand


class Mixture(NamedTuple):
    """Equally likely Gaussians with means `[m]` and one standard deviation."""

    means: tuple[float, ...]
    std: float

    def denoise(self, x: jax.Array, level: Level) -> Prediction:
        """The exact expectations of the data and of the noise, element by element."""
        alpha, sigma = (expand(a, x)[..., None] for a in (level.alpha, level.sigma))
        means = jnp.array(self.means)
        variance = alpha**2 * self.std**2 + sigma**2
        shares = jax.nn.softmax(-((x[..., None] - alpha * means) ** 2) / (2 * variance), axis=-1)
        x0 = (shares * (means + alpha * self.std**2 / variance * (x[..., None] - alpha * means))).sum(-1)
        # By the noise's own formula, not from x0: at small sigma the quotient would lose what is to be tested.
        eps = (shares * sigma / variance * (x[..., None] - alpha * means)).sum(-1)
        return Prediction(x0, eps)

    def quantiles(self, p: np.ndarray) -> np.ndarray:
        """The inverse of the distribution function."""

        x = np.linspace(min(self.means) - 8 * self.std, max(self.means) + 8 * self.std, 10_000)
        return np.interp(p, np.mean([stats.norm.cdf(x, m, self.std) for m in self.means], axis=0), x)


def wasserstein(x: np.ndarray, law: Mixture, grid: int = 400) -> float:
    """The 1-Wasserstein distance of samples from a law: the mean distance of their quantiles."""
    p = (np.arange(grid) + 0.5) / grid
    return float(np.abs(np.quantile(np.asarray(x, np.float64), p) - law.quantiles(p)).mean())


class UnequalMixture(NamedTuple):
    """Gaussians of different weights and standard deviations in one dimension; element by element, in the precision of x."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def denoise(self, x: jax.Array, level: Level) -> Prediction:
        """The exact expectations of the data and of the noise."""
        alpha, sigma = (expand(a, x)[..., None] for a in (level.alpha, level.sigma))
        weights, means, stds = (jnp.asarray(a, x.dtype) for a in self)
        variance = alpha**2 * stds**2 + sigma**2
        distance = x[..., None] - alpha * means
        shares = jax.nn.softmax(jnp.log(weights) - 0.5 * jnp.log(variance) - distance**2 / (2 * variance), axis=-1)
        return Prediction(
            (shares * (means + alpha * stds**2 / variance * distance)).sum(-1), (shares * sigma / variance * distance).sum(-1)
        )
