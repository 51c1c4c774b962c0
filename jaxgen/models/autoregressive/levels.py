"""Images as grids of integers, and back."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from jaxgen.errors import SizeError


def levels_of(image: UInt8[Array, "b h w c"] | Float[Array, "b h w c"], levels: int = 256) -> Int[Array, "b h w*c"]:
    r"""The intensities $v \in \{0 ... 255\}$ as one of L levels, $\lfloor v L / 256 \rfloor$.

    The colours of a pixel lie side by side in a row of the grid: a model of the grid draws them one after the other.

    Args:
      image: images as bytes, or as floats in [0, 1], which stand for the nearest byte.
      levels: the number of levels L, from 2 to 256.

    Returns:
      The levels, in int32.

    Raises:
      SizeError: if bytes cannot be cut into so many levels.

    >>> levels_of(jnp.array([0, 127, 128, 255], jnp.uint8).reshape(1, 1, 2, 2), 2).tolist()
    [[[0, 0, 1, 1]]]
    """
    if not 2 <= levels <= 256:
        raise SizeError(f"The 256 values of a byte do not make {levels} levels; take 2 to 256.")
    value = image if image.dtype == jnp.uint8 else jnp.round(image.astype(jnp.float32) * 255)
    b, h, w, c = image.shape
    return (value.astype(jnp.int32) * levels // 256).reshape(b, h, w * c)


def image_of(codes: Int[Array, "b h w"], levels: int = 256, colours: int = 1) -> Float[Array, "b h w/{colours} {colours}"]:
    """The image of a grid of levels, in [0, 1]: the lowest level is black and the highest is white.

    Args:
      codes: the levels, as `levels_of` gives them.
      levels: the number of levels.
      colours: the numbers that a pixel has in the grid, 3 for an image in colour.

    Returns:
      The image, in float32. With 256 levels it is the one that the levels were made of.

    >>> image_of(jnp.array([[[0, 2, 4]]]), 5).ravel().tolist()
    [0.0, 0.5, 1.0]
    """
    b, h, w = codes.shape
    return (codes.astype(jnp.float32) / (levels - 1)).reshape(b, h, w // colours, colours)
