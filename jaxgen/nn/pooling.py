"""Pooling: the maximum or the mean of the pixels under a window, with PyTorch's conventions at the borders.

On an accelerator it is XLA's. On a CPU it is put together from slices of the images, one for each row and column of a window,
since the gradient of XLA's windows is slow there.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn.padding import Padding, Pads, pixels

Steps = tuple[int, int]
Reduction = Callable[[Array, Array], Array]


def max_pool(
    x: Float[Array, "b h w c"],
    window: tuple[int, int],
    strides: tuple[int, int] | None = None,
    padding: Padding = "VALID",
    *,
    ceil_mode: bool = False,
) -> Float[Array, "b h2 w2 c"]:
    """The maximum under each window. Padding counts as minus infinity.

    Args:
      x: the maps.
      window: height and width of the window.
      strides: vertical and horizontal steps; those of the window by default.
      padding: the padding: "SAME", "VALID", pixels on every side, or pixels before and after by axis.
      ceil_mode: whether a last window that reaches over the end is kept, if it starts within the image or the padding before
        it. Caffe's networks do so.

    Returns:
      The maxima. Where several pixels of a window are largest, the gradient goes to the first one.

    Raises:
      SizeError: if the window is larger than the padded maps.

    >>> max_pool(jnp.arange(5.0).reshape(1, 1, 5, 1), (1, 2), ceil_mode=True)[0, 0, :, 0].tolist()
    [1.0, 3.0, 4.0]
    """
    strides = strides or window
    pads, beyond = _borders(x, window, strides, padding, ceil_mode)
    return _windows(x, window, strides, _sum(pads, beyond), -jnp.inf, _larger, lax.max)


def avg_pool(
    x: Float[Array, "b h w c"],
    window: tuple[int, int],
    strides: tuple[int, int] | None = None,
    padding: Padding = "VALID",
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "b h2 w2 c"]:
    """The mean under each window. It is summed in float32.

    Args:
      x: the maps.
      window: height and width of the window.
      strides: vertical and horizontal steps; those of the window by default.
      padding: the padding: "SAME", "VALID", pixels on every side, or pixels before and after by axis.
      ceil_mode: whether a last window that reaches over the end is kept, as in `max_pool`. What lies beyond the padding counts
        in no mean.
      count_include_pad: whether padding counts as zeros; otherwise the mean is over the pixels of the image alone.

    Returns:
      The means.

    Raises:
      SizeError: if the window is larger than the padded maps.

    >>> avg_pool(jnp.ones((1, 1, 4, 1)), (1, 2), padding=((0, 0), (1, 1)))[0, 0, :, 0].tolist()
    [0.5, 1.0, 0.5]
    """
    strides = strides or window
    pads, beyond = _borders(x, window, strides, padding, ceil_mode)
    sums = _windows(x.astype(jnp.float32), window, strides, _sum(pads, beyond), 0.0, lax.add, lax.add)
    counted = pads if count_include_pad else ((0, 0), (0, 0))
    axes = zip(x.shape[1:3], window, strides, pads, counted, sums.shape[1:3], strict=True)
    rows, columns = (_counts(*axis) for axis in axes)
    counts = jnp.asarray(rows[:, None, None] * columns[:, None], jnp.float32)
    return (sums / counts).astype(x.dtype)


def adaptive_avg_pool(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    """The means under windows that make an output of a given size, as PyTorch's `AdaptiveAvgPool2d`.

    Output i of m covers the pixels from floor(i n / m) up to ceil((i + 1) n / m), without it, of n. So maps of any size can be
    read by a layer that needs one size. The mean of whole maps, "global average pooling", is the size (1, 1).

    Args:
      x: the maps.
      size: height and width of the output.

    Returns:
      The means, computed in float32.

    >>> adaptive_avg_pool(jnp.arange(3.0).reshape(1, 1, 3, 1), (1, 2))[0, 0, :, 0].tolist()
    [0.5, 1.5]
    """
    rows, columns = (_shares(n, m) for n, m in zip(x.shape[1:3], size, strict=True))
    pooled = jnp.einsum("bhwc,ih->biwc", x.astype(jnp.float32), rows, precision="highest")
    return jnp.einsum("biwc,jw->bijc", pooled, columns, precision="highest").astype(x.dtype)


def _shares(n: int, m: int) -> Float[Array, "m n"]:
    """The share of each of n pixels in each of m windows."""
    starts, stops = np.arange(m) * n // m, -(-np.arange(1, m + 1) * n // m)
    inside = (np.arange(n) >= starts[:, None]) & (np.arange(n) < stops[:, None])
    return jnp.asarray(inside / inside.sum(1, keepdims=True), jnp.float32)


def _borders(x: Array, window: Steps, strides: Steps, padding: Padding, ceil_mode: bool) -> tuple[Pads, Pads]:
    """The padding, and what the last windows reach beyond it."""
    pads = pixels(padding, x.shape[1:3], window, strides)
    beyond = []
    for n, k, s, (before, after) in zip(x.shape[1:3], window, strides, pads, strict=True):
        room = n + before + after - k
        if room < 0:
            raise SizeError(
                f"A window of {window[0]}x{window[1]} does not fit into maps of {x.shape[1]}x{x.shape[2]}, padded by {pads}; "
                "take larger images, or pool fewer times."
            )
        steps = -(-room // s) if ceil_mode else room // s
        if ceil_mode and steps * s >= n + before:
            steps -= 1
        beyond.append((0, steps * s - room))
    return pads, tuple(beyond)


def _sum(a: Pads, b: Pads) -> Pads:
    return tuple((p[0] + q[0], p[1] + q[1]) for p, q in zip(a, b, strict=True))


def _windows(x: Array, window: Steps, strides: Steps, pads: Pads, start: float, of_two: Reduction, of_all: Reduction) -> Array:
    """Each window reduced to one pixel."""
    empty = jnp.asarray(start, x.dtype)
    x = lax.pad(x, empty, ((0, 0, 0), *((before, after, 0) for before, after in pads), (0, 0, 0)))
    if jax.default_backend() != "cpu":
        return lax.reduce_window(x, start, of_all, (1, *window, 1), (1, *strides, 1), "VALID")
    # Columns before rows: the first of the largest is then the first of a window read row by row.
    for axis in (2, 1):
        k, s = window[axis - 1], strides[axis - 1]
        last = (x.shape[axis] - k) // s * s + 1
        x = functools.reduce(of_two, [lax.slice_in_dim(x, i, i + last, s, axis) for i in range(k)])
    return x


def _larger(a: Array, b: Array) -> Array:
    """The larger one, the first of two equal ones, and nan if one is."""
    return jnp.where((b > a) | (b != b), b, a)


def _counts(n: int, k: int, s: int, pad: tuple[int, int], counted: tuple[int, int], m: int) -> Float[np.ndarray, " m"]:
    """The pixels under each of m windows, of n pixels and the padding that counts."""
    first = np.arange(m) * s - pad[0]
    inside = np.minimum(first + k, n + counted[1]) - np.maximum(first, -counted[0])
    return np.asarray(inside, np.float32)
