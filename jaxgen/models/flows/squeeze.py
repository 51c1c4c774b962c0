"""Pixels to channels and back: each block of 2x2 pixels becomes one pixel with four times the channels."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError

DIAGONALS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Row and column of the pixels of a block as the ordered squeeze has them: one diagonal, then the other."""


def squeeze(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c4"]:
    """The four pixels of a block as neighbouring channels: channel 4 c + 2 i + j is channel c of row i and column j.

    Args:
      x: images of even height and width.

    Returns:
      `[B, H / 2, W / 2, 4 C]`.

    Raises:
      SizeError: if a side is odd.

    Source: Dinh et al. 2017, section 3.6.

    >>> squeeze(jnp.arange(4.0).reshape(1, 2, 2, 1)).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    b, h, w, c = _even(x)
    return x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(b, h // 2, w // 2, 4 * c)


def unsqueeze(x: Float[Array, "b h2 w2 c4"]) -> Float[Array, "b h w c"]:
    """The inverse of `squeeze`."""
    b, h, w, c = x.shape
    return x.reshape(b, h, w, c // 4, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(b, 2 * h, 2 * w, c // 4)


def ordered_squeeze(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c4"]:
    """The four pixels of a block as four groups of channels, those of one diagonal before those of the other.

    So the first half of the channels, which stays where the other one leaves the flow, is one colour of a checkerboard.

    Args:
      x: images of even height and width.

    Returns:
      `[B, H / 2, W / 2, 4 C]`; channel q C + c is channel c of the pixel q of a block.

    Raises:
      SizeError: if a side is odd.

    Source: Dinh et al. 2017, figure 3 (the numbers of its blocks); the order within a half is that of the authors' code.

    >>> ordered_squeeze(jnp.arange(4.0).reshape(1, 2, 2, 1)).ravel().tolist()
    [0.0, 3.0, 1.0, 2.0]
    """
    _even(x)
    return jnp.concatenate([x[:, i::2, j::2] for i, j in DIAGONALS], axis=-1)


def ordered_unsqueeze(x: Float[Array, "b h2 w2 c4"]) -> Float[Array, "b h w c"]:
    """The inverse of `ordered_squeeze`."""
    b, h, w, _ = x.shape
    parts = dict(zip(DIAGONALS, jnp.split(x, 4, axis=-1), strict=True))
    rows = [jnp.stack([parts[i, 0], parts[i, 1]], axis=3) for i in range(2)]  # [B, H / 2, W / 2, 2, C]
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, -1)


def _even(x: Array) -> tuple[int, int, int, int]:
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise SizeError(
            f"Blocks of 2x2 pixels do not fill images of {h}x{w}; take fewer levels or scales, or images whose sides "
            "can be halved more often."
        )
    return b, h, w, c
