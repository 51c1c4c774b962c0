"""The meaning of an image's numbers: bytes from 0 to 255 or floats from 0 to 1, checked and never assumed."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxgen.errors import UserError


def to_bytes(images: Float[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n h w c"]:
    """Images in [0, 1] as the bytes that would be saved: the nearest of 256 levels.

    >>> to_bytes(np.array([[[[0.0], [0.5], [1.0]]]])).ravel().tolist()
    [0, 128, 255]
    """
    return np.round(np.clip(images, 0.0, 1.0) * 255).astype(np.uint8)


def as_bytes(images: np.ndarray, name: str) -> np.ndarray:
    """Images of any kind whose meaning is plain, as bytes.

    Args:
      images: bytes; floats in [0, 1], which become the nearest of 256 levels; or truth values, which become 0 and 255.
      name: the name of the set, for the message.

    Returns:
      uint8 of the same shape.

    Raises:
      UserError: if they are integers of another kind, whose white nobody knows, or floats beyond [0, 1].
    """
    images = checked(images, name)
    return images if images.dtype == np.uint8 else to_bytes(images)


def checked(images: np.ndarray, name: str) -> np.ndarray:
    """Images as they are, bytes or floats in [0, 1]; truth values become bytes.

    Raises:
      UserError: if they are neither, or not finite.
    """
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype.kind != "f":
        raise UserError(
            f"{name} holds {images.dtype}; give bytes from 0 to 255 (image.astype(np.uint8)), or floats from 0 to 1."
        )
    if images.size and not np.isfinite(images).all():
        row = int(np.argmax(~np.isfinite(images).reshape(len(images), -1).all(1)))
        raise UserError(f"{name} has values that are not finite, first in example {row}; give floats from 0 to 1, or bytes.")
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        # In the array's own precision: three digits of 1.0000001 are those of 1.
        raise UserError(
            f"{name} has values from {images.min()!s} to {images.max()!s}; give floats from 0 to 1, such as those of "
            "np.clip(image, 0, 1) where rounding alone is beyond, or bytes."
        )
    return images


def squared(size: int | None) -> dict[str, Any]:
    """The arguments of `load` that bring the central squares of all images to one side.

    Args:
      size: the side; None leaves the images as they are.

    Returns:
      `example_map` and its name, or nothing.

    >>> squared(16)["example_map_name"], squared(None)
    ('the central square at 16x16', {})
    """
    return {} if size is None else {"example_map": resize(size), "example_map_name": f"the central square at {size}x{size}"}


def resize(size: int, *, feature: str = "image") -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An `example_map` that brings the central square of a uint8 image to `[size, size, C]`, with Lanczos' filter."""
    from PIL import Image, ImageOps

    def fn(example: dict[str, Any]) -> dict[str, Any]:
        pixels = as_bytes(np.asarray(example[feature]), f"The {feature}")
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        small = np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS))
        return {**example, feature: small.reshape(size, size, pixels.shape[-1])}

    return fn
