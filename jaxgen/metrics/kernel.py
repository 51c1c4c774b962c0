"""Kernel distance between two sets of features: the squared maximum mean discrepancy, over random subsets."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxgen.metrics import blocks
from jaxgen.metrics.inputs import check_finite, warn_few
from jaxgen.progress import Track
from jaxgen.progress import track as show

ROWS = 1024
"""The side of a block of a matrix of kernel values: a device holds one block at a time, for subsets of any size."""


class KernelDistance(NamedTuple):
    """The result of `distance`.

    Fields:
      mean: the mean over the subsets; unbiased, so it may be below 0.
      std: the standard deviation over the subsets: that of one of them, not of the mean.
    """

    mean: float
    std: float


def draw(n: int, *, subsets: int, size: int, seed: int) -> np.ndarray:
    """The numbers of the examples, of n, in each subset, `[subsets, size]`: without repetition within one.

    Raises:
      ValueError: if there are fewer examples than a subset holds.
    """
    if n < size:
        raise ValueError(f"a subset of {size} cannot be drawn from {n} examples")
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(n, size, replace=False) for _ in range(subsets)])


def distance(
    a: Float[np.ndarray, "n d"],
    b: Float[np.ndarray, "m d"],
    of_a: Int[np.ndarray, "subsets size"],
    of_b: Int[np.ndarray, "subsets size"],
    *,
    track: Track = show,
) -> KernelDistance:
    r"""Squared MMD under the polynomial kernel $k(x, y) = (x^\top y / d + 1)^3$, averaged over pairs of subsets.

    Args:
      a: features, one row per example; may be memory-mapped.
      b: the other set's.
      of_a: the subsets of a, as `draw` gives them; the convention is 100 of 1,000.
      of_b: the subsets of b.
      track: a function that shows the progress over them.

    Returns:
      Mean and standard deviation over the subsets.

    Raises:
      ValueError: if a subset has fewer than two examples, or a feature is not finite.

    Warns:
      FewExamplesWarning: if all subsets of both sets are the sets themselves: the standard deviation is then 0.

    >>> x = np.array([[0.0], [1.0], [2.0]], np.float32)
    >>> round(distance(x, x, np.array([[0, 1]]), np.array([[1, 2]])).mean, 6)
    9.5

    Source: Bińkowski et al. 2018, section 4; the estimator is that of Gretton et al. 2012, equation 3.
    """
    check_finite(features_a=a, features_b=b)
    if len(of_a) > 1:
        warn_few(caution(len(a), len(b), min(of_a.shape[1], of_b.shape[1])))
    pairs = track(zip(of_a, of_b, strict=True), description="kernel distance", total=len(of_a))
    values = [mmd(a, b, i, j) for i, j in pairs]
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


def caution(n: int, m: int, size: int) -> str | None:
    """The warning about subsets of n and of m examples, if only one subset of this size exists; else None."""
    if max(n, m) > size:
        return None
    return f"every subset of {size:,} is the whole set, so that the kernel distance's standard deviation of 0 says nothing"


def mmd(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], of_a: Int[np.ndarray, " k"], of_b: Int[np.ndarray, " l"]
) -> float:
    r"""The unbiased squared MMD of the rows i of a and j of b, k and l in number.

    $\frac{1}{k(k-1)} \sum_{i \ne i'} k(a_i, a_{i'}) + \frac{1}{l(l-1)} \sum_{j \ne j'} k(b_j, b_{j'})
    - \frac{2}{kl} \sum_{i,j} k(a_i, b_j)$.

    Args:
      a: features, one row per example.
      b: the other set's.
      of_a: the indices of the rows of a.
      of_b: the indices of the rows of b.

    Returns:
      The estimate, summed in float64, since it is a small difference of three means of large numbers.

    Raises:
      ValueError: if there are fewer than two rows of either set: the estimate is of pairs of different examples.
    """
    k, m = len(of_a), len(of_b)
    if min(k, m) < 2:
        raise ValueError(f"the unbiased estimate needs two examples of each set; got {k} and {m}")
    with jax.enable_x64(True):
        within_a = _total(a, of_a, a, of_a) - _diagonal(a, of_a)
        within_b = _total(b, of_b, b, of_b) - _diagonal(b, of_b)
        return within_a / (k * (k - 1)) + within_b / (m * (m - 1)) - 2 * _total(a, of_a, b, of_b) / (k * m)


def _total(a: np.ndarray, of_a: np.ndarray, b: np.ndarray, of_b: np.ndarray) -> float:
    """The kernel's sum over all pairs."""
    columns = [of_b[start : start + ROWS] for start in range(0, len(of_b), ROWS)]
    return sum(float(_block_sum(x, blocks.whole(_doubles(b[j])))) for x in _rows(a, of_a) for j in columns)


def _diagonal(a: np.ndarray, of_a: np.ndarray) -> float:
    """The kernel's sum over the pairs of a row and itself."""
    return sum(float(((jnp.square(x).sum(1) / x.shape[1] + 1) ** 3).sum()) for x in _rows(a, of_a))


def _rows(x: np.ndarray, rows: np.ndarray) -> Iterator[Array]:
    return (blocks.cut(_doubles(x[rows[span]])) for span in blocks.spans(len(rows), ROWS))


def _doubles(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64)


@jax.jit
def _block_sum(a: Array, b: Array) -> Array:
    return ((jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST) / a.shape[1] + 1) ** 3).sum()
