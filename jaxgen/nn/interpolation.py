"""Interpolation of maps to another size, for tables of positions that were learned on another grid.

A rule is a function of the old and the new length that gives the weights of an axis as a matrix, `[new, old]`. The libraries
have different ones under the same names, so each is named here by what it does and by whose it is.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Matrix: TypeAlias = Float[np.ndarray, "new old"]
Rule: TypeAlias = Callable[[int, int], np.ndarray]
"""`rule(old, new) -> [new, old]`: the weights by which the new points of an axis are made of the old ones."""


def interpolate(x: Float[Array, "*b h w c"], size: tuple[int, int], rule: Rule) -> Float[Array, "*b h2 w2 c"]:
    """Interpolates maps along both axes.

    Args:
      x: the maps.
      size: the new height and width.
      rule: the rule of an axis: `bilinear`, `bilinear_between_corners`, `bicubic` or `bicubic_antialiased`.

    Returns:
      Maps of the new size.

    >>> interpolate(jnp.array([[[0.0], [1.0]]]), (1, 3), bilinear_between_corners)[0, :, 0].tolist()
    [0.0, 0.5, 1.0]
    """
    rows, columns = (jnp.asarray(rule(old, new), x.dtype) for old, new in zip(x.shape[-3:-1], size, strict=True))
    return jnp.einsum("Hh,Ww,...hwc->...HWc", rows, columns, x, precision="highest")


def nearest_pixels(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    """Maps of another size, made of the pixels at the nearest places before or at the new ones (PyTorch's "nearest").

    A map of classes, of which there is no mean, is resized so. Pixel i of n new ones is pixel floor(i m / n) of m.

    Args:
      x: the maps.
      size: the new height and width.

    Returns:
      Maps of the new size.

    >>> nearest_pixels(jnp.arange(5.0).reshape(1, 1, 5, 1), (1, 2))[0, 0, :, 0].tolist()
    [0.0, 2.0]
    """
    rows, columns = (np.arange(new) * old // new for old, new in zip(x.shape[1:3], size, strict=True))
    return x[:, rows][:, :, columns]


def bilinear(old: int, new: int) -> Matrix:
    """Linear, pixels as areas whose outer edges stay (PyTorch's "bilinear" with `align_corners=False`).

    Args:
      old: the number of points.
      new: the number of points after.
    """
    return _by_kernel(_areas(old, new), old, 1, _triangle)


def bilinear_between_corners(old: int, new: int) -> Matrix:
    """Linear, pixels as points of which the first and the last stay (`scipy.ndimage.zoom(order=1)`, as in ViT's code).

    Args:
      old: the number of points.
      new: the number of points after.
    """
    return _by_kernel(np.arange(new) * ((old - 1) / max(new - 1, 1)), old, 1, _triangle)


def bicubic(old: int, new: int) -> Matrix:
    """Cubic convolution with a = -3/4, pixels as areas (PyTorch's "bicubic" with `align_corners=False`).

    Args:
      old: the number of points.
      new: the number of points after.

    Source: Keys 1981, equation 15, with another a.
    """
    return _by_kernel(_areas(old, new), old, 2, lambda x: _keys(x, -0.75))


def bicubic_antialiased(old: int, new: int) -> Matrix:
    """Cubic convolution with a = -1/2, widened where the size shrinks (Pillow's, and PyTorch's with `antialias=True`).

    Args:
      old: the number of points.
      new: the number of points after.

    Source: Keys 1981, equation 15.
    """
    scale = max(old / new, 1)
    distance = (_areas(old, new)[:, None] - np.arange(old)) / scale
    weights = _keys(distance, -0.5)
    return weights / weights.sum(1, keepdims=True)


def _areas(old: int, new: int) -> np.ndarray:
    """The places of the new pixels' centres among the old ones."""
    return (np.arange(new) + 0.5) * (old / new) - 0.5


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _keys(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _by_kernel(centres: np.ndarray, old: int, reach: int, kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The weights of a kernel at the new points; the outermost old points stand for those beyond them."""
    weights = np.zeros((len(centres), old))
    taps = np.floor(centres).astype(int)[:, None] + np.arange(1 - reach, 1 + reach)
    np.add.at(weights, (np.arange(len(centres))[:, None], taps.clip(0, old - 1)), kernel(centres[:, None] - taps))
    return weights
