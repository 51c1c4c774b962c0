"""Parzen-window estimate of the log-likelihood, for models without a likelihood; papers of 2014 compared models by it."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen.metrics import blocks
from jaxgen.metrics.inputs import check_finite, warn_few
from jaxgen.progress import Track
from jaxgen.progress import track as show

ROWS, COLUMNS = 256, 4096
"""Points, and samples for each of them, on a device at a time: memory is a block of distances, however many there are."""

SIGMAS = tuple(float(s) for s in np.logspace(-1, 0, 10))
"""The widths that the protocol tries: ten from 0.1 to 1."""


class LogLikelihood(NamedTuple):
    r"""The result of `estimate`.

    Fields:
      mean: the mean over the test points, in nats.
      error: standard error of the mean over the test points; the samples' own noise and bias are not in it. None where there is
        one point.
      sigma: the width $\sigma$ of the kernel that was chosen.
    """

    mean: float
    error: float | None
    sigma: float


def log_density(
    points: Float[np.ndarray, "n d"], samples: Float[np.ndarray, "m d"], sigma: float, *, track: Track = show
) -> Float[np.ndarray, " n"]:
    r"""Log density of points under the mixture of Gaussians that are centred at the samples.

    $\log \frac 1 m \sum_j N(x; y_j, \sigma^2 I)$.

    Args:
      points: the points x.
      samples: the samples y of a model.
      sigma: the width $\sigma > 0$ of the kernel.
      track: a function that shows the progress.

    Returns:
      One value per point, in nats.

    Raises:
      ValueError: if sigma is not above 0, there is no sample, or a point or a sample is not finite.

    >>> round(float(log_density(np.zeros((1, 2)), np.zeros((3, 2)), 1.0)[0]), 5)  # -log 2 pi
    -1.83788

    Source: Breuleux, Bengio & Vincent 2009.
    """
    if not sigma > 0:
        raise ValueError(f"the width of a window is above 0; got {sigma}")
    if not len(samples):
        raise ValueError("a mixture of windows has one sample or more; got none")
    check_finite(points=points, samples=samples)
    out = []
    # In float64: at sigma 0.1, an error of 1e-6 in a squared distance of 100 pixels is 0.005 nats.
    with jax.enable_x64(True):
        width = jnp.asarray(sigma, jnp.float64)
        for rows in track(blocks.spans(len(points), ROWS), description=f"densities at width {sigma:.3g}"):
            x = blocks.cut(np.asarray(points[rows], np.float64))
            total = blocks.cut(np.full(len(x), -np.inf))
            for first in range(0, len(samples), COLUMNS):
                y = blocks.whole(np.asarray(samples[first : first + COLUMNS], np.float64))
                total = _add(total, x, y, width)
            out.append(np.asarray(total))
    d = points.shape[1]
    return np.concatenate(out) - np.log(len(samples)) - d / 2 * np.log(2 * np.pi * sigma**2)


def estimate(
    samples: Float[np.ndarray, "m d"],
    validation: Float[np.ndarray, "v d"],
    test: Float[np.ndarray, "n d"],
    *,
    sigmas: Sequence[float] = SIGMAS,
    track: Track = show,
) -> LogLikelihood:
    r"""Mean log-likelihood of test points, with the width that suits a validation set best.

    Not a likelihood of the model: it rises with the number of samples, of which millions are too few in many dimensions, and
    the centres of k-means beat the true data (Theis et al. 2016, section 3). For the tables of 2014 alone, which take
    10,000 samples, pixels in [0, 1] and the 10,000 test images of MNIST.

    Args:
      samples: the samples of a model.
      validation: points that $\sigma$ is chosen on: neither the test's nor the samples'.
      test: points that are counted.
      sigmas: the values of $\sigma$ that are tried.
      track: a function that shows the progress.

    Returns:
      The mean, its standard error and $\sigma$.

    Warns:
      FewExamplesWarning: if the width is the smallest or the largest that is tried: the best one may lie beyond.

    Source: Goodfellow et al. 2014, section 5.
    """
    sigma = max(sigmas, key=lambda s: float(log_density(validation, samples, s, track=track).mean()))
    if len(sigmas) > 1 and sigma in (min(sigmas), max(sigmas)):
        warn_few(
            f"of the widths {min(sigmas):.3g} to {max(sigmas):.3g} the one at the edge, {sigma:.3g}, suits the validation "
            f"set of {len(validation):,} best; a better one may lie beyond: try more"
        )
    values = log_density(test, samples, sigma, track=track)
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return LogLikelihood(float(values.mean()), error, sigma)


@jax.jit
def _add(total: Array, x: Array, y: Array, sigma: Array) -> Array:
    """The logarithm of a sum of exponentials, by one more block of samples."""
    squared = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.logaddexp(total, jax.nn.logsumexp(-squared / (2 * sigma**2), axis=1))
