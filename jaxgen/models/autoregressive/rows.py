"""Maps with margins of zeros, and the few rows of a map that a kernel reaches while a grid is drawn."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def margins(x: Float[Array, "b h w c"], *, top: int = 0, left: int = 0, right: int = 0) -> Float[Array, "b h2 w2 c"]:
    """Maps with zeros above them and to their sides.

    Args:
      x: maps.
      top: the number of rows of zeros above.
      left: the number of columns of zeros to the left.
      right: the number of columns of zeros to the right.

    >>> margins(jnp.ones((1, 2, 2, 1)), top=1, left=2).shape
    (1, 3, 4, 1)
    """
    return jnp.pad(x, ((0, 0), (top, 0), (left, right), (0, 0)))


def next_row(rows: Float[Array, "b r w c"], row: Float[Array, "b 1 w c"]) -> Float[Array, "b r w c"]:
    """The rows without the first and with one more at the end.

    Args:
      rows: the last r rows of a map.
      row: the row after them.

    >>> next_row(jnp.arange(3.0).reshape(1, 3, 1, 1), jnp.full((1, 1, 1, 1), 9.0)).ravel().tolist()
    [1.0, 2.0, 9.0]
    """
    return jnp.concatenate([rows[:, 1:], row], axis=1)
