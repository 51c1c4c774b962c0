"""Sliced Wasserstein distance: of sets of points, and of the patches of images at every scale."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxgen.data import Source, in_bytes
from jaxgen.metrics import blocks
from jaxgen.metrics.inputs import check_finite, warn_few
from jaxgen.progress import Track
from jaxgen.progress import track as show

ROWS, DIRECTIONS = 65536, 32
"""Points on a device at a time, and directions that all points are projected on at a time."""

PATCH, COARSEST = 7, 16


def sliced(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "m d"],
    *,
    projections: int,
    seed: int,
    p: float | int = 2,
    track: Track = show,
) -> float:
    r"""The sliced p-Wasserstein distance, $(\mathbb E_\theta W_p^p(\theta^\top x, \theta^\top y))^{1/p}$.

    The directions are random. On a line the optimal transport takes quantiles to quantiles, so each direction costs a sort; of
    sets of unequal size the quantiles are those of both, exactly.

    Args:
      x: points.
      y: other points, in any number.
      projections: the number of directions that are drawn.
      seed: the seed of the directions.
      p: the power, one or more.
      track: a function that shows the progress.

    Returns:
      The distance, in the unit of the points. In d dimensions a translation by a vector v costs $|v| / \sqrt d$ for p = 2.

    Raises:
      ValueError: if p is below one, there is no direction, or a point is not finite.

    >>> round(sliced(np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]]), projections=3, seed=0), 6)
    2.0

    Source: Rabin et al. 2011; Bonneel et al. 2015.
    """
    if p < 1 or projections < 1:
        raise ValueError(f"the power and the number of projections are one or more; got {p} and {projections}")
    check_finite(points_x=x, points_y=y)
    directions = _directions(np.random.default_rng(seed), x.shape[1], projections)
    zero, one = x.mean(0, dtype=np.float64), np.ones(x.shape[1])
    return float(np.mean(_costs(x, y, directions, (zero, one), (zero, one), p, track)) ** (1 / p))


def descriptors(
    images: UInt8[np.ndarray, "n h w c"], rng: np.random.Generator, *, patches: int = 128
) -> dict[int, Float[np.ndarray, "k 7 7 c"]]:
    """Random patches of 7 by 7 pixels of every level of the images' Laplacian pyramids.

    Args:
      images: a batch.
      rng: the generator that draws where the patches lie.
      patches: the number of patches of each image and level.

    Returns:
      `{smaller side of the level: [n * patches, 7, 7, c]}`, from the images' own side by halves down to 16; the last holds
      what is left of the image, the others what the next coarser one lacks.

    Raises:
      ValueError: as `sides`, or if a pixel is not finite.

    Source: Karras et al. 2018, section 5; Burt & Adelson 1983.
    """
    check_finite(images=images)
    levels = sides(*images.shape[1:3])
    out = {}
    for (h, w), level in zip(levels, jax.device_get(_pyramid(blocks.cut(images), len(levels))), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(1, 2))
        top, left = (rng.integers(0, side - PATCH + 1, (len(images), patches)) for side in (h, w))
        found = windows[np.arange(len(images))[:, None], top, left]  # [n, patches, c, 7, 7]
        out[min(h, w)] = np.moveaxis(found.reshape(-1, *found.shape[2:]), 1, 3)
    return out


def sides(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of an image's levels, by halves down to 16.

    Raises:
      ValueError: if the image is smaller than a coarsest level, or an odd side is to be halved.

    >>> sides(64, 32), sides(28, 28)
    ([(64, 32), (32, 16)], [(28, 28)])
    """
    found = [(height, width)]
    if min(height, width) < COARSEST:
        raise ValueError(f"images of {height}x{width} are smaller than the coarsest level of {COARSEST}")
    while min(found[-1]) // 2 >= COARSEST:
        if any(side % 2 for side in found[-1]):
            raise ValueError(f"images of {height}x{width} cannot be halved down to {COARSEST}; crop or resize them")
        found.append((found[-1][0] // 2, found[-1][1] // 2))
    return found


def over(source: Source, *, seed: int, patches: int = 128, batch_size: int = 256, track: Track = show) -> dict[int, np.ndarray]:
    """The descriptors of a set, drawn batch by batch.

    Args:
      source: a set with the feature `image`, bytes or floats in [0, 1]; 16,384 of them are the paper's.
      seed: the seed of the patches' places.
      patches: the number of patches of each image and level.
      batch_size: images at a time.
      track: a function that shows the progress.

    Returns:
      The patches, in the form of `descriptors`: 25 kB per image, level and channel on the host.
    """
    source, rng, found = in_bytes(source), np.random.default_rng(seed), {}
    starts = range(0, source.length, batch_size)
    for start in track(starts, description=f"patches of {source.name}", total=len(starts)):
        batch = source.gather(np.arange(start, min(start + batch_size, source.length)))["image"]
        for side, part in descriptors(batch, rng, patches=patches).items():
            if side not in found:
                found[side] = np.empty((source.length * patches, *part.shape[1:]), np.float32)
            found[side][start * patches : start * patches + len(part)] = part
    return found


def of_patches(
    a: Mapping[int, np.ndarray],
    b: Mapping[int, np.ndarray],
    *,
    seed: int,
    repeats: int = 4,
    projections: int = 128,
    track: Track = show,
) -> dict[int, float]:
    r"""The sliced 1-Wasserstein distance of two sets of descriptors at each level, times 1,000.

    Descriptors are brought to mean 0 and standard deviation 1 for each channel, of each set by itself: neither the brightness
    nor the contrast of a whole channel is seen.

    Args:
      a: the patches of the first set, as `over` gives them.
      b: the other set's.
      seed: the seed of the directions.
      repeats: the number of draws, 4 in the protocol; their mean is as of all directions together.
      projections: the number of directions of each, 128 in the protocol.
      track: a function that shows the progress.

    Returns:
      `{side: distance}`; the protocol's last column is their mean.

    Raises:
      ValueError: if the levels differ: images of different sizes do not compare.

    Warns:
      FewExamplesWarning: if a level has no more descriptors than a descriptor has numbers.

    Source: Karras et al. 2018, section 5.
    """
    if list(a) != list(b):
        raise ValueError(f"levels of {list(a)} and of {list(b)} do not compare; bring the images to one size")
    side = next(iter(a))
    warn_few(caution(min(len(a[side]), len(b[side])), int(np.prod(a[side].shape[1:]))))
    out, rng = {}, np.random.default_rng(seed)
    for side in a:
        directions = _directions(rng, int(np.prod(a[side].shape[1:])), repeats * projections)
        costs = _costs(_flat(a[side]), _flat(b[side]), directions, _scale(a[side]), _scale(b[side]), 1, track)
        out[side] = 1e3 * float(np.mean(costs))
    return out


def caution(n: int, dimension: int) -> str | None:
    """The warning about n descriptors of this dimension, if they are too few; else None."""
    if n > dimension:
        return None
    return f"a sliced Wasserstein distance of {n:,} patches of {dimension:,} numbers is one of what was drawn, not of the sets"


def _directions(rng: np.random.Generator, dimension: int, number: int) -> np.ndarray:
    drawn = rng.normal(size=(dimension, number))
    return drawn / np.linalg.norm(drawn, axis=0)


def _flat(patches: np.ndarray) -> np.ndarray:
    return patches.reshape(len(patches), -1)


def _scale(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the channels, which are the last axis, for each number of a flat patch."""
    d = int(np.prod(patches.shape[1:]))
    mean = patches.mean((0, 1, 2), dtype=np.float64)
    squares = sum(((part - mean) ** 2).sum((0, 1, 2)) for part in np.array_split(patches, -(-len(patches) // ROWS)))
    std = np.sqrt(squares * len(mean) / patches.size)
    return np.resize(mean, d), np.resize(np.where(std > 0, std, 1.0), d)


def _costs(
    x: np.ndarray,
    y: np.ndarray,
    directions: np.ndarray,
    scale_x: tuple[np.ndarray, np.ndarray],
    scale_y: tuple[np.ndarray, np.ndarray],
    p: float | int,
    track: Track,
) -> np.ndarray:
    """The p-th power of the distance along each direction, of points that are shifted and divided."""
    out = []
    for i in track(range(0, directions.shape[1], DIRECTIONS), description="sliced distance"):
        some = directions[:, i : i + DIRECTIONS]
        out.append(_on_a_line(_projected(x, some, *scale_x), _projected(y, some, *scale_y), p))
    return np.concatenate(out)


def _projected(x: np.ndarray, directions: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Coordinates along each direction, in order, `[directions, n]`."""
    out = np.empty((directions.shape[1], len(x)), np.float32)
    along = blocks.whole(np.asarray(directions / scale[:, None], np.float32))
    for span in blocks.spans(len(x), ROWS):
        out[:, span] = np.asarray(_along(blocks.cut(np.asarray(x[span] - shift, np.float32)), along))
    out.sort(axis=1)
    return out


def _on_a_line(x: np.ndarray, y: np.ndarray, p: float | int) -> np.ndarray:
    """The p-th power of the p-Wasserstein distance of ordered numbers, `[k, n]` and `[k, m]`."""
    n, m = x.shape[1], y.shape[1]
    if n == m:
        return (np.abs(x - y) ** p).mean(1, dtype=np.float64)
    # Steps of both quantile functions, in units of 1 / (n m).
    cuts = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    from_x, from_y = cuts[:-1] // m, cuts[:-1] // n
    return (np.abs(x[:, from_x] - y[:, from_y]) ** p) @ (np.diff(cuts) / (n * m))


@jax.jit
def _along(x: Array, directions: Array) -> Array:
    return jnp.matmul(directions.T, x.T, precision=jax.lax.Precision.HIGHEST)


@partial(jax.jit, static_argnums=1)
def _pyramid(images: Array, levels: int) -> list[Array]:
    """The Laplacian pyramid, from the finest level on."""
    found = [images.astype(jnp.float32)]
    for _ in range(levels - 1):
        h, w = found[-1].shape[1:3]
        coarse = _both(found[-1], _down(h), _down(w))
        found[-1] = found[-1] - _both(coarse, _up(h // 2), _up(w // 2))
        found.append(coarse)
    return found


def _both(x: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    matrices = (jnp.asarray(a, jnp.float32) for a in (rows, columns))
    return jnp.einsum("ih,nhwc,jw->nijc", next(matrices), x, next(matrices), precision=jax.lax.Precision.HIGHEST)


def _down(size: int) -> np.ndarray:
    """Every other place of the binomial filter, the image mirrored at its edge pixels."""
    return _filter(size)[::2]


def _up(size: int) -> np.ndarray:
    """The filter of the image with zeros in between."""
    return 2 * _filter(2 * size)[:, ::2]


def _filter(size: int) -> np.ndarray:
    matrix, places = np.zeros((size, size)), np.arange(size)
    for offset, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
        at = np.abs(places + offset)
        np.add.at(matrix, (places, np.minimum(at, 2 * (size - 1) - at)), weight / 16)
    return matrix
