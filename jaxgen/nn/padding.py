"""Padding of images: the conventions of TensorFlow and PyTorch as pixels on each side, and reflected borders."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.errors import SizeError

Pads: TypeAlias = tuple[tuple[int, int], ...]
"""Pixels before and after, by axis."""

Padding: TypeAlias = Literal["SAME", "VALID"] | int | Pads


def pixels(
    padding: Padding, sides: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int] = (1, 1)
) -> Pads:
    """The padding of a convolution or a pooling as pixels before and after, by axis.

    Args:
      padding: the padding, in one of four ways. A number of pixels on every side is PyTorch's convention. "SAME" is
        TensorFlow's: the output has `side / stride` pixels, rounded up, and where the total is odd, the extra pixel lies at the
        end. "VALID" is none. Pixels before and after by axis stay as they are; negative ones take pixels away.
      sides: height and width of the images.
      window: height and width of the window.
      strides: vertical and horizontal steps of the window.
      dilation: vertical and horizontal steps between the pixels of a window.

    Returns:
      The pixels.

    >>> pixels("SAME", (8, 8), (3, 3), (2, 2)), pixels(1, (8, 8), (3, 3), (2, 2))
    (((0, 1), (0, 1)), ((1, 1), (1, 1)))
    """
    if isinstance(padding, int):
        return tuple((padding, padding) for _ in sides)
    if isinstance(padding, str):
        reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
        padding = tuple(lax.padtype_to_pads(sides, reach, strides, padding))
    return tuple((int(before), int(after)) for before, after in padding)


def reflect_pad(x: Float[Array, "b h w c"], padding: int | Pads) -> Float[Array, "b h2 w2 c"]:
    """The images with a border in which they are mirrored at their outermost pixels, as PyTorch's `ReflectionPad2d`.

    A convolution with reflected borders is `Conv(..., padding="VALID")` of this.

    Args:
      x: the images.
      padding: the pixels on every side, or those before and after by axis.

    Returns:
      The larger images.

    Raises:
      SizeError: if a border is as wide as the images or wider.

    >>> reflect_pad(jnp.arange(3.0).reshape(1, 1, 3, 1), ((0, 0), (2, 1)))[0, 0, :, 0].tolist()
    [2.0, 1.0, 0.0, 1.0, 2.0, 1.0]
    """
    pads = pixels(padding, x.shape[1:3], (1, 1), (1, 1))
    if any(max(pad) >= side for side, pad in zip(x.shape[1:3], pads, strict=True)):
        raise SizeError(
            f"Images of {x.shape[1]}x{x.shape[2]} cannot be reflected in a border of {pads}, which must be narrower than they "
            "are; shrink the images fewer times, or take larger ones."
        )
    return jnp.pad(x, ((0, 0), *pads, (0, 0)), mode="reflect")
