"""Positions of patches for a Transformer: learned vectors, sines and cosines, and biases of relative positions.

A grid is the rows and columns of patches, which follow one another row by row. Tables that were learned on one grid are
interpolated to another, so that a network can see images of another size.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxgen.errors import SizeError
from jaxgen.nn.interpolation import Rule, bicubic, bilinear_between_corners, interpolate


def resized_positions(
    table: Float[Array, "n c"], old: tuple[int, int], new: tuple[int, int], rule: Rule, *, tokens: int = 0
) -> Float[Array, "m c"]:
    """A table of positions, interpolated to another grid.

    Args:
      table: one vector for each token that is no patch, such as the class token, and then for each patch.
      old: the rows and columns of the table's grid.
      new: the rows and columns of the new grid.
      rule: the rule of interpolation, of `nn.interpolation`.
      tokens: the number of tokens before the patches, whose vectors are kept as they are.

    Returns:
      The new table; the given one where the grids are the same.

    Raises:
      SizeError: if the table is not that of its grid.
    """
    if len(table) != tokens + math.prod(old):
        raise SizeError(
            f"A table of {len(table)} positions does not fit a grid of {old[0]}x{old[1]} and {tokens} tokens before it."
        )
    if old == new:
        return table
    grid = interpolate(table[tokens:].reshape(*old, -1), new, rule)
    return jnp.concatenate([table[:tokens], grid.reshape(math.prod(new), -1)])


class LearnedPositions(nn.Module):
    """A learned vector for each place, to be added to the tokens.

    Fields:
      features: the width of a vector.
      grid: the rows and columns of patches that the table is made for; (n, 1) for a text of n tokens.
      tokens: the number of tokens before the patches, such as the class token.
      table_init: the initializer of the table.
      rule: the rule by which the table is interpolated to another grid; by default that of ViT's code.
      dtype: the dtype of what is returned; the parameters are float32.

    Source: Dosovitskiy et al. 2021, equation 1 and section 3.2 (the interpolation).
    """

    features: int
    grid: tuple[int, int]
    tokens: int = 0
    table_init: nn.initializers.Initializer = nn.initializers.normal(0.02)
    rule: Rule = bilinear_between_corners
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, grid: tuple[int, int] | None = None) -> Float[Array, "n c"]:
        """The vectors of a grid; of the table's own by default."""
        size = (self.tokens + math.prod(self.grid), self.features)
        table = self.param("table", self.table_init, size, jnp.float32)
        return resized_positions(table, self.grid, grid or self.grid, self.rule, tokens=self.tokens).astype(self.dtype)


def sinusoidal_2d(
    grid: tuple[int, int], features: int, *, period: float = 10_000.0, endpoint: bool = False, tokens: int = 0
) -> Float[Array, "n c"]:
    r"""$[\sin \omega_i x, \cos \omega_i x, \sin \omega_i y, \cos \omega_i y]$ for column x and row y of each patch.

    The frequencies $\omega_i$ fall geometrically from 1, $\omega_i = \mathrm{period}^{-i / k}$ for $i < k$, or to 1 / period.

    Args:
      grid: the rows and columns of patches.
      features: the width of a vector, a multiple of four; k is a quarter of it.
      period: the number to whose inverse the frequencies fall.
      endpoint: whether that inverse is itself the last frequency, as in the code of big_vision; it is not in MAE's and DiT's.
      tokens: the number of tokens before the patches, whose vectors are zero.

    Returns:
      One vector for each token and each patch, row by row.

    Raises:
      SizeError: if the features are no multiple of four, or too few.

    >>> sinusoidal_2d((2, 3), 8).shape
    (6, 8)

    Source: He et al. 2022 (MAE); Peebles & Xie 2023 (DiT).
    """
    k = features // 4
    if features % 4 or k < 1 + endpoint:
        raise SizeError(
            f"Sines and cosines of two axes make a multiple of four features, {4 * (1 + endpoint)} or more, and not {features}."
        )
    frequencies = period ** -np.linspace(0, 1, k, endpoint=endpoint)
    rows, columns = np.indices(grid).reshape(2, -1, 1)
    waves = [wave(place * frequencies) for place in (columns, rows) for wave in (np.sin, np.cos)]
    return jnp.asarray(np.pad(np.concatenate(waves, axis=1), ((tokens, 0), (0, 0))), jnp.float32)


def relative_positions(grid: tuple[int, int], *, class_token: bool = False) -> Int[np.ndarray, "n n"]:
    """The number of the displacement of each pair of places, in a table of all displacements.

    A grid of HxW places has (2H - 1)(2W - 1) displacements, row by row. With a class token there are three more at the end:
    from the token to a patch, from a patch to the token, and from the token to itself.

    Args:
      grid: the rows and columns of patches.
      class_token: whether there is a token before the patches.

    Returns:
      A number for each query (row) and each key.

    >>> relative_positions((1, 2), class_token=True).tolist()
    [[5, 3, 3], [4, 1, 0], [4, 2, 1]]

    Source: Liu et al. 2021 (Swin), equation 4; Bao et al. 2022 (BEiT) for the class token.
    """
    (height, width), places = grid, np.indices(grid).reshape(2, -1)
    rows, columns = places[:, :, None] - places[:, None]
    index = (rows + height - 1) * (2 * width - 1) + columns + width - 1
    if class_token:
        displacements = (2 * height - 1) * (2 * width - 1)
        index = np.pad(index, ((1, 0), (1, 0)))
        index[0], index[1:, 0], index[0, 0] = displacements, displacements + 1, displacements + 2
    return index


class RelativePositionBias(nn.Module):
    """A learned number for each displacement of two places and each head, as the `bias` of an attention.

    Fields:
      heads: the number of heads.
      grid: the rows and columns of patches that the table is made for.
      class_token: whether there is a token before the patches.
      table_init: the initializer of the table.
      rule: the rule by which the table is interpolated to another grid.

    Source: Liu et al. 2021 (Swin), equation 4; Bao et al. 2022 (BEiT) for the class token.
    """

    heads: int
    grid: tuple[int, int]
    class_token: bool = False
    table_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    rule: Rule = bicubic

    @nn.compact
    def __call__(self, grid: tuple[int, int] | None = None) -> Float[Array, "1 h n n"]:
        """The bias of a grid, in float32; of the table's own by default."""
        old, new = ((2 * height - 1, 2 * width - 1) for height, width in (self.grid, grid or self.grid))
        size = (math.prod(old) + 3 * self.class_token, self.heads)
        table = self.param("table", self.table_init, size, jnp.float32)
        patches = resized_positions(table[: math.prod(old)], old, new, self.rule)
        table = jnp.concatenate([patches, table[math.prod(old) :]])
        index = relative_positions(grid or self.grid, class_token=self.class_token)
        return table[index].transpose(2, 0, 1)[None]
