"""Hues of images, and how evenly several images of one thing share them out: the entropy over the styles of a content."""

import numpy as np
from jaxtyping import Float, Int

from jaxgen.errors import InputError

BINS = 12
"""Equal parts of the circle of hues, the first of them around red."""

GREY = 0.02
"""The least distance of an image's mean colour from grey, of colours in [0, 1], at which it has a hue."""


def of_images(images: Float[np.ndarray, "*n h w c"], *, bins: int = BINS, grey: float = GREY) -> Int[np.ndarray, "*n"]:
    r"""The part of the circle of hues that the mean colour of each image lies in; `bins` itself is the part of grey images.

    The hue is the angle of $(R - (G + B) / 2, \frac{\sqrt 3}{2} (G - B))$, so that red is at 0, green at 120 and blue at 240
    degrees. Red is the middle of the first part.

    Args:
      images: images in [0, 1] of three channels.
      bins: the number of parts of the circle.
      grey: the length of that vector below which an image is grey.

    Returns:
      The parts, from 0 to `bins`.

    Raises:
      InputError: if the images have another number of channels.

    >>> colours = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]])
    >>> of_images(np.broadcast_to(colours[:, None, None], (4, 2, 2, 3))).tolist()
    [0, 4, 8, 12]
    """
    if images.shape[-1] != 3:
        raise InputError(f"Images of {images.shape[-1]} channels have no hues; give three, red, green and blue.")
    red, green, blue = np.moveaxis(np.asarray(images, np.float64).mean((-3, -2)), -1, 0)
    x, y = red - (green + blue) / 2, np.sqrt(3) / 2 * (green - blue)
    part = np.floor(np.arctan2(y, x) / (2 * np.pi) * bins + 0.5).astype(np.int64) % bins
    return np.where(np.hypot(x, y) < grey, bins, part)


def entropy(parts: Int[np.ndarray, "n k"], *, bins: int = BINS) -> Float[np.ndarray, " n"]:
    r"""The entropy $-\sum_j p_j \log_2 p_j$, in bits, of the shares that the hues of each row's k images have.

    Of few images it is below that of the law that they are drawn from: compare rows of equal length.

    Args:
      parts: the parts of the circle that the images of each row lie in.
      bins: the number of parts.

    Returns:
      The entropy of each row, 0 where all of its images have one hue.

    >>> entropy(np.array([[0, 0, 0, 0], [0, 4, 0, 4], [0, 4, 8, 12]])).tolist()
    [0.0, 1.0, 2.0]
    """
    share = (parts[:, :, None] == np.arange(bins + 1)).mean(1)
    return -np.where(share > 0, share * np.log2(np.where(share > 0, share, 1.0)), 0.0).sum(-1) + 0.0
