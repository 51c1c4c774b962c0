"""Squared Euclidean distances that can be compared: equal distances are equal numbers on any device and in any block.

A matrix product finds all distances of two sets quickly, as |x|^2 + |y|^2 - 2 x.y, but rounds equal distances differently. It
decides only where its error, which is bounded, cannot change the answer. The few other pairs are decided on the host by *the*
distance of two rows: the sum of the squared differences, in float64 and in one order. Whole numbers need no second look, since
float64 holds their products and sums exactly.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from jaxgen.metrics import blocks
from jaxgen.progress import Track

ROWS, COLUMNS = 1024, 4096
"""The size of a block of a matrix of distances: a device holds one block and the features of its sides at a time."""

SPARE = 8
"""The number of neighbours beyond the k-th that are compared exactly: the product may have ordered them wrongly."""

PAIRS = 1 << 22
"""Numbers on the host at a time, while the distances of single pairs are computed."""


class Space(NamedTuple):
    """The centre and the error bound by which a product computes the distances of some sets.

    Fields:
      centre: the vector that is subtracted from every row first: squares of large numbers would not leave their small
        differences, `[d]`.
      slack: the product's error is at most this times |x|^2 + |y|^2; 0 where the product is exact.
    """

    centre: np.ndarray
    slack: float


def space(*sets: Num[np.ndarray, "_ d"]) -> Space:
    """The space of some sets of rows, about the mean of the first.

    Args:
      *sets: finite rows of one width; may be memory-mapped.

    Returns:
      The space; exact if all are whole numbers, and small enough that float64 holds the sums of their products.
    """
    centre = sets[0].mean(0, dtype=np.float64)
    if all((part == np.rint(part)).all() for x in sets for part in _parts(x)):
        centre = np.rint(centre)
        if 4 * max(_norm(part - centre).max() for x in sets for part in _parts(x)) < 2**53:
            return Space(centre, 0.0)
    # Of inner products of length d, by the standard bound (Higham 2002, section 3.1), and generously.
    return Space(centre, 4 * (len(centre) + 8) * float(np.finfo(np.float64).eps))


def exact(
    x: Num[np.ndarray, "n d"], y: Num[np.ndarray, "m d"], i: Int[np.ndarray, " p"], j: Int[np.ndarray, " p"]
) -> Float[np.ndarray, " p"]:
    """The squared distance of row i of one set and row j of another, pair by pair.

    It is the same number wherever the two rows are the same, and for (x, y) as for (y, x).

    Args:
      x: the rows of one set.
      y: the rows of the other set.
      i: rows of x.
      j: rows of y, as many.

    Returns:
      One value per pair, summed in float64.

    >>> exact(np.array([[0, 0], [3, 4]]), np.array([[0, 0]]), np.array([0, 1]), np.array([0, 0])).tolist()
    [0.0, 25.0]
    """
    out, size = np.empty(len(i)), max(PAIRS // x.shape[1], 1)
    for start in range(0, len(i), size):
        some = slice(start, start + size)
        out[some] = _norm(np.asarray(x[i[some]], np.float64) - np.asarray(y[j[some]], np.float64))
    return out


def kth(
    x: Num[np.ndarray, "n d"], y: Num[np.ndarray, "m d"], k: int, of: Space, *, description: str, track: Track
) -> Float[np.ndarray, " n"]:
    """The squared distance from each row of one set to its nearest rows of another but for k: to the nearest if k is 0.

    In its own set the nearest row is the row itself, so that k = 1 is its nearest neighbour.

    Args:
      x: the rows of one set.
      y: the rows of the other set, of more than k rows.
      k: the number of nearest rows to pass over; 0 gives the nearest one.
      of: the space of both.
      description: the description of the progress.
      track: a function that shows the progress.

    Returns:
      One value per row, as `exact` computes it.
    """
    return np.concatenate([_kth(x, y, span, k, of) for span in track(blocks.spans(len(x), ROWS), description=description)])


def _kth(x: np.ndarray, y: np.ndarray, span: slice, k: int, of: Space) -> np.ndarray:
    number = span.stop - span.start
    with jax.enable_x64(True):
        rows = blocks.cut(_about(of, x[span]))
        none = np.full((number, k + 1 + SPARE), np.inf, np.float32), np.zeros((number, k + 1 + SPARE), np.int32)
        nearest = tuple(map(blocks.cut, none))
        for columns, block in columns_of(y, of):
            nearest = blocks.per_device(_nearest, rows, block, *nearest, blocks.whole(np.array(columns.start, np.int32)))
        squared, where = jax.device_get(nearest)
    own = np.broadcast_to(np.arange(span.start, span.stop)[:, None], where.shape)
    again = exact(x, y, own.ravel(), where.ravel()).reshape(where.shape)
    found = np.sort(np.where(np.isfinite(squared), again, np.inf), 1)[:, k]
    # No row that was left out is nearer than this: |y|^2 is at most 2 |x|^2 and twice the squared distance.
    last = squared[:, -1].astype(np.float64)
    if of.slack > 0 or last.max() >= 2**24:  # else float32 holds the whole numbers that they are
        last *= 1 - float(np.finfo(np.float32).eps)
    least = last * (1 - 4 * of.slack) - 4 * of.slack * _norm(_about(of, x[span]))
    for row in np.flatnonzero((found > least) & (found > 0)):  # more ties than are looked at twice
        i = np.full(len(y), span.start + row)
        found[row] = np.partition(exact(x, y, i, np.arange(len(y))), k)[k]
    return found


def within(
    x: Num[np.ndarray, "n d"],
    y: Num[np.ndarray, "m d"],
    x_radius: Float[np.ndarray, " n"],
    y_radius: Float[np.ndarray, " m"],
    of: Space,
    *,
    description: str,
    track: Track,
) -> tuple[Int[np.ndarray, " m"], Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Counts of the rows of two sets that lie in each other's balls; a row exactly on a ball's surface lies in it.

    Args:
      x: the rows of one set.
      y: the rows of the other set.
      x_radius: squared radii of the balls about the rows of x.
      y_radius: the squared radii of the balls about the rows of y.
      of: the space of both.
      description: the description of the progress.
      track: a function that shows the progress.

    Returns:
      The number of balls about rows of x that hold each row of y, whether each ball about a row of x holds any row of y, and
      whether each row of x lies in any ball about a row of y.
    """
    counts = np.zeros(len(y), np.int64)
    holds, held = np.zeros(len(x), bool), np.zeros(len(x), bool)
    for rows in track(blocks.spans(len(x), ROWS), description=description):
        with jax.enable_x64(True):
            a = blocks.cut(_about(of, x[rows]))
            for columns, b in columns_of(y, of):
                sides = a, b, x_radius[rows], y_radius[columns], of.slack
                in_x, some_in_x, in_any_y, doubtful = jax.device_get(_within(*sides))
                counts[columns] += in_x
                holds[rows] |= some_in_x
                held[rows] |= in_any_y
                if not doubtful.any():
                    continue
                x_doubt, y_doubt = jax.device_get(_doubts(*sides))
                i, j = np.nonzero(x_doubt | y_doubt)
                for_x, for_y = x_doubt[i, j], y_doubt[i, j]
                i, j = i + rows.start, j + columns.start
                squared = exact(x, y, i, j)
                inside = for_x & (squared <= x_radius[i])
                np.add.at(counts, j[inside], 1)
                holds[i[inside]] = True
                held[i[for_y & (squared <= y_radius[j])]] = True
    return counts, holds, held


def columns_of(x: np.ndarray, of: Space) -> Iterator[tuple[slice, Array]]:
    """A set's rows about the centre, so many at a time, on every device."""
    for start in range(0, len(x), COLUMNS):
        columns = slice(start, min(start + COLUMNS, len(x)))
        yield columns, blocks.whole(_about(of, x[columns]))


def _about(of: Space, x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64) - of.centre


def _parts(x: np.ndarray) -> Iterator[np.ndarray]:
    return (np.asarray(x[start : start + COLUMNS], np.float64) for start in range(0, len(x), COLUMNS))


def _norm(x: np.ndarray) -> np.ndarray:
    """The squared length of each row, in an order that no other row has a part in."""
    return np.square(x).sum(-1)


def _squared(a: Array, b: Array) -> tuple[Array, Array]:
    """Squared distances by a product, and the sums of the two squared lengths, which bound their error."""
    lengths = (a**2).sum(1)[:, None] + (b**2).sum(1)
    return lengths - 2 * jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST), lengths


def _nearest(a: Array, b: Array, squared: Array, where: Array, first: Array) -> tuple[Array, Array]:
    """The smallest squared distances so far and to one more block, in order, and the numbers of the rows they lead to."""
    k = squared.shape[1]
    # In float32, of which XLA takes the first without sorting all; at most its largest number: infinity means no row.
    more = jnp.minimum(_squared(a, b)[0], float(np.finfo(np.float32).max)).astype(jnp.float32)
    negative, chosen = jax.lax.top_k(-jnp.concatenate([squared, more], 1), k)
    before = jnp.take_along_axis(where, jnp.minimum(chosen, k - 1), 1)
    return -negative, jnp.where(chosen < k, before, first + chosen - k)


def _decided(radius: Array, squared: Array, error: Array) -> tuple[Array, Array]:
    """Masks of the distances that are within a radius for sure, and of those in doubt."""
    sure = squared + error <= radius
    return sure, (squared - error <= radius) & ~sure


@jax.jit
def _within(x: Array, y: Array, x_radius: Array, y_radius: Array, slack: Array) -> tuple[Array, Array, Array, Array]:
    """The sure counts of balls that hold each row of y, masks of balls that hold any and of rows of x held; and of doubts."""
    squared, lengths = _squared(x, y)
    in_x, x_doubt = _decided(x_radius[:, None], squared, slack * lengths)
    in_y, y_doubt = _decided(y_radius, squared, slack * lengths)
    return in_x.sum(0), in_x.any(1), in_y.any(1), (x_doubt | y_doubt).any(1)


@jax.jit
def _doubts(x: Array, y: Array, x_radius: Array, y_radius: Array, slack: Array) -> tuple[Array, Array]:
    squared, lengths = _squared(x, y)
    return _decided(x_radius[:, None], squared, slack * lengths)[1], _decided(y_radius, squared, slack * lengths)[1]
