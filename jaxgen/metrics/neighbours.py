"""What nearest neighbours in a feature space tell: precision and recall, density and coverage, and a two-sample test."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen.logs import Track
from jaxgen.logs import track as show
from jaxgen.metrics import blocks

ROWS, COLUMNS = 1024, 8192
"""Of a matrix of distances at a time: a device holds a block of it and the features of its sides, however many there are."""


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


def manifolds(real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], *, k: int, track: Track = show) -> Manifolds:
    r"""Precision and recall, density and coverage, with balls $B_k$ to the k-th nearest neighbour in the own set.

    Args:
      real: features of real examples; may be memory-mapped, since one block of them is read at a time.
      fake: features of samples.
      k: the convention is 3 for precision and recall, 5 for density and coverage.
      track: shows the progress.

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
    real_radius, fake_radius = _radius(real, centre, k, track), _radius(fake, centre, k, track)
    of_fake = np.zeros(len(fake), np.int64)
    covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows in track(blocks.spans(len(real), ROWS), description="balls that hold samples"):
        x = blocks.cut(_about(centre, real[rows]))
        for columns, y in _columns(fake, centre):
            counts, in_ball, in_fake = jax.device_get(_inside(x, y, real_radius[rows], fake_radius[columns]))
            of_fake[columns] += counts
            covered[rows] |= in_ball
            recalled[rows] |= in_fake
    return Manifolds(
        float((of_fake > 0).mean()),
        float(recalled.mean()),
        float(of_fake.sum() / (k * len(fake))),
        float(covered.mean()),
    )


def two_sample(real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], *, track: Track = show) -> tuple[float, float]:
    """Leave-one-out accuracy of the nearest neighbour that tells samples from real examples: 1/2 where it cannot.

    Args:
      real: features of real examples.
      fake: features of as many samples.
      track: shows the progress.

    Returns:
      The accuracy on the real ones and on the samples: low on the real ones alone says that modes are copied, low on both
      that the samples are the data.

    Raises:
      ValueError: if their numbers differ, with which chance would not be 1/2.

    Source: Lopez-Paz & Oquab 2017; Xu et al. 2018, section 2.
    """
    if len(real) != len(fake):
        raise ValueError(f"as many samples as real examples are wanted; got {len(fake)} and {len(real)}")
    centre, n = real.mean(0), len(real)
    is_real = []
    for of_rows, first in ((real, 0), (fake, n)):
        for rows in track(blocks.spans(n, ROWS), description="nearest neighbours"):
            x = blocks.cut(_about(centre, of_rows[rows]))
            own = first + np.arange(rows.start, rows.stop)
            best, nearest = np.full(len(own), np.inf, np.float32), np.zeros(len(own), np.int64)
            for of_columns, offset in ((real, 0), (fake, n)):
                for columns, y in _columns(of_columns, centre):
                    squared, i = jax.device_get(_nearest_other(x, y, own - (offset + columns.start)))
                    # The earlier of two that are as near, as of one row of distances.
                    nearest = np.where(squared < best, offset + columns.start + i, nearest)
                    best = np.minimum(squared, best)
            is_real.append(nearest < n)
    told = np.concatenate(is_real)
    return float(told[:n].mean()), float(1 - told[n:].mean())


def _about(centre: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.asarray(x - centre, np.float32)


def _columns(x: np.ndarray, centre: np.ndarray) -> Iterator[tuple[slice, Array]]:
    """A set's features, so many at a time, on every device."""
    for start in range(0, len(x), COLUMNS):
        columns = slice(start, min(start + COLUMNS, len(x)))
        yield columns, blocks.whole(_about(centre, x[columns]))


def _radius(x: np.ndarray, centre: np.ndarray, k: int, track: Track) -> np.ndarray:
    """Squared distance to the k-th nearest other row."""
    found = []
    for span in track(blocks.spans(len(x), ROWS), description="radii of balls"):
        rows = blocks.cut(_about(centre, x[span]))
        # The nearest of all is the row itself.
        smallest = blocks.cut(np.full((len(rows), k + 1), np.inf, np.float32))
        for _, columns in _columns(x, centre):
            smallest = blocks.apart(_smallest, rows, columns, smallest)
        found.append(np.asarray(smallest[:, k]))
    return np.concatenate(found)


def _squared(a: Array, b: Array) -> Array:
    cross = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * cross, 0.0)


def _smallest(a: Array, b: Array, smallest: Array) -> Array:
    """The smallest squared distances so far and to one more block, in order."""
    more = jnp.concatenate([smallest, _squared(a, b)], 1)
    return -jax.lax.top_k(-more, smallest.shape[1])[0]


@jax.jit
def _inside(real: Array, fake: Array, real_radius: Array, fake_radius: Array) -> tuple[Array, Array, Array]:
    """How many balls hold each sample, whether each ball holds one, and whether each centre lies in the ball of one."""
    squared = _squared(real, fake)
    balls = squared <= real_radius[:, None]
    return balls.sum(0), balls.any(1), (squared <= fake_radius).any(1)


@jax.jit
def _nearest_other(a: Array, b: Array, own: Array) -> tuple[Array, Array]:
    """Squared distance and place of the nearest in the block, less the place `own`, where the row itself would be."""
    squared = jnp.where(jnp.arange(b.shape[0]) == own[:, None], jnp.inf, _squared(a, b))
    return squared.min(1), squared.argmin(1)
