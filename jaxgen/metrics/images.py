"""Sets of images to compare: of a dataset, a folder, an array, or drawn from a model; read part by part, as bytes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from jaxgen.errors import UserError

CHUNK = 256
"""Samples that are drawn at once: part of the protocol, since the i-th chunk is drawn with the i-th key."""


class Images(NamedTuple):
    """A set of images.

    Fields:
      name: what it is, for people and for the protocol.
      n: how many.
      read: `read(start, stop) -> [stop - start, H, W, C]`, bytes; the same at every call.
      labels: the classes of all, `[n]`, or None.
    """

    name: str
    n: int
    read: Callable[[int, int], np.ndarray]
    labels: np.ndarray | None = None


def to_bytes(images: Float[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n h w c"]:
    """Images in [0, 1] as the bytes that would be saved: to the nearest of 256 levels.

    >>> to_bytes(np.array([[[[0.0], [0.5], [1.0]]]])).ravel().tolist()
    [0, 128, 255]
    """
    return np.round(np.clip(images, 0.0, 1.0) * 255).astype(np.uint8)


def of_array(name: str, images: np.ndarray, labels: np.ndarray | None = None) -> Images:
    """The set of an array, bytes or floats in [0, 1], `[n, H, W, C]` or `[n, H, W]`.

    Raises:
      UserError: if it holds no images.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not len(images):
        raise UserError(f"{name} is an array of shape {list(images.shape)}; give images, [n, H, W, C].")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"{name} holds {images.dtype}; give bytes from 0 to 255, or floats from 0 to 1.")
    if images.dtype != np.uint8 and not (np.nanmin(images) >= 0 and np.nanmax(images) <= 1):
        raise UserError(f"{name} has values from {images.min():.3g} to {images.max():.3g}; give floats from 0 to 1, or bytes.")

    def read(start: int, stop: int) -> np.ndarray:
        part = np.asarray(images[start:stop])
        return part if part.dtype == np.uint8 else to_bytes(part)

    return Images(name, len(images), read, labels)
