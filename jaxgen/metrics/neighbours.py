"""What nearest neighbours in a feature space tell: precision and recall, density and coverage, and a two-sample test."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

ROWS = 1024
"""Of a matrix of distances at a time: memory is this many rows, however many there are."""


class Manifolds(NamedTuple):
    r"""What `manifolds` finds, of samples against real examples.

    Fields:
      precision: share of the samples that lie in the real manifold.
      recall: share of the real examples that lie in the samples' manifold.
      density: $\frac{1}{k m} \sum_j \#\{i : y_j \in B_k(x_i)\}$, which an outlier's large ball raises less than
        precision; may be above 1.
      coverage: share of the real examples whose ball holds a sample.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifolds(real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], *, k: int) -> Manifolds:
    r"""Precision and recall, density and coverage, with balls $B_k$ to the k-th nearest neighbour in the own set.

    Args:
      real: features of real examples.
      fake: features of samples.
      k: the convention is 3 for precision and recall, 5 for density and coverage.

    Returns:
      All four.

    Raises:
      ValueError: if a set has no k-th neighbour.

    Source: Kynkäänniemi et al. 2019, equations 1 and 2; Naeem et al. 2020, equations 1 and 2.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"a {k}-th neighbour needs {k + 1} examples; got {len(real)} and {len(fake)}")
    # About a common centre: squares of large numbers would not leave their small differences.
    centre = real.mean(0)
    real, fake = (np.asarray(x - centre, np.float32) for x in (real, fake))
    real_radius, fake_radius = _radius(real, k), _radius(fake, k)
    of_fake, inside = np.zeros(len(fake)), 0
    recalled, covered = [], []
    for start in range(0, len(real), ROWS):
        rows = slice(start, start + ROWS)
        squared = np.asarray(_squared(real[rows], fake))
        balls = squared <= real_radius[rows, None]
        of_fake += balls.sum(0)
        covered.append(balls.any(1))
        recalled.append((squared <= fake_radius[None]).any(1))
        inside += int(balls.sum())
    return Manifolds(
        float((of_fake > 0).mean()),
        float(np.concatenate(recalled).mean()),
        inside / (k * len(fake)),
        float(np.concatenate(covered).mean()),
    )


def two_sample(real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"]) -> tuple[float, float]:
    """Leave-one-out accuracy of the nearest neighbour that tells samples from real examples: 1/2 where it cannot.

    Args:
      real: features of real examples.
      fake: features of as many samples.

    Returns:
      The accuracy on the real ones and on the samples: low on the real ones alone says that modes are copied, low on both
      that the samples are the data.

    Raises:
      ValueError: if their numbers differ, with which chance would not be 1/2.

    Source: Lopez-Paz & Oquab 2017; Xu et al. 2018, section 2.
    """
    if len(real) != len(fake):
        raise ValueError(f"as many samples as real examples are wanted; got {len(fake)} and {len(real)}")
    centre = real.mean(0)
    both = np.asarray(np.concatenate([real, fake]) - centre, np.float32)
    nearest = []
    for start in range(0, len(both), ROWS):
        squared = np.array(_squared(both[start : start + ROWS], both))
        squared[np.arange(len(squared)), start + np.arange(len(squared))] = np.inf
        nearest.append(squared.argmin(1))
    is_real = np.concatenate(nearest) < len(real)
    return float(is_real[: len(real)].mean()), float(1 - is_real[len(real) :].mean())


def _radius(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance to the k-th nearest other row."""
    # The nearest of all is the row itself.
    return np.concatenate(
        [np.partition(np.asarray(_squared(x[i : i + ROWS], x)), k, axis=1)[:, k] for i in range(0, len(x), ROWS)]
    )


@jax.jit
def _squared(a: Array, b: Array) -> Array:
    cross = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * cross, 0.0)
