"""PixelSNAIL: causal convolutions and causal attention over grids of integers, which may be conditioned on a coarser grid."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxgen.errors import InputError
from jaxgen.models.autoregressive.causal import CausalAttention, GatedResidual, check_kernel, normed
from jaxgen.models.autoregressive.label import check_label
from jaxgen.models.autoregressive.rows import margins, next_row
from jaxgen.nn import Conv, Embed, WeightNorm


class SnailCache(NamedTuple):
    """The cache of what the positions before a position left, as far as it is seen.

    Fields:
      codes: vectors of the codes in the rows that the first kernels reach, with margins; the current row is the last.
      blocks: rows of each block's residual blocks, and the keys and values of its attention, if it has one.
      background: coordinates of all positions.
      condition: maps of the grid above, in the size of this grid; None if there is none.
    """

    codes: Float[Array, "b r w2 k"]
    blocks: tuple[Any, ...]
    background: Float[Array, "1 h w 2"]
    condition: Float[Array, "b h w c"] | None


class PixelSNAIL(nn.Module):
    r"""Blocks of gated causal convolutions, each followed by attention to all positions before.

    The first layer sees the rows above a position and the codes to its left; the layers after it see what was made of these.
    Every block also gets the coordinates of the positions. Of a hierarchy of codes, the model of a finer grid is conditioned on
    the coarser one above it: a residual network makes a map of that grid, which is enlarged to the nearest and enters all
    gates. A class enters them as a vector.

    With its default fields the model is rosinality/vq-vae-2-pytorch's prior of the top codes, without classes. That of the
    bottom codes has `attention=False, above=512`. No kernel of theirs reaches the last code of a row from the first positions
    of the next one: that code is out of their sight.

    Sampling a grid takes about as much work as one full pass, because each position reads the rows that the kernels reach from
    a cache, and the keys and values of the positions before.

    Fields:
      codes: the number K of codes.
      channels: the channels of the maps.
      width: the channels within a residual block, and of the condition.
      kernel: the side of the kernels; an odd number.
      blocks: the number of blocks.
      residuals: the number of residual blocks in each block.
      attention: whether each block attends.
      heads: the number of heads; it divides half the channels.
      classes: the number of classes that the model is conditioned on; 0 for an unconditional model.
      above: the number of codes of the grid above that the model is conditioned on; 0 for none.
      residuals_above: the number of residual blocks of the network of that grid.
      dropout: share of the values and of the attention's weights that are dropped in training.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Chen et al. 2018 (PixelSNAIL); as priors of two grids of codes Razavi et al. 2019 (VQ-VAE-2), section 3.2.
    """

    codes: int
    channels: int = 256
    width: int = 256
    kernel: int = 5
    blocks: int = 4
    residuals: int = 4
    attention: bool = True
    heads: int = 8
    classes: int = 0
    above: int = 0
    residuals_above: int = 3
    dropout: float = 0.1
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        check_kernel(self.kernel)
        reach, own = self.kernel // 2, {"padding": "VALID", "dtype": self.dtype}
        self.first_rows = WeightNorm(Conv(self.channels, (reach, self.kernel), **own))
        self.first_left = WeightNorm(Conv(self.channels, (reach + 1, reach), **own))
        self.parts = [self._block() for _ in range(self.blocks)]
        if self.classes:
            self.embed_class = Embed(self.classes, self.width, dtype=self.dtype)
        if self.above:
            self.enter_above = normed(self.width, 3, dtype=self.dtype)
            self.blocks_above = [
                GatedResidual(self.width, self.width, 3, dropout=self.dropout, dtype=self.dtype)
                for _ in range(self.residuals_above)
            ]
        self.logits = normed(self.codes, dtype=self.dtype)

    def __call__(
        self,
        codes: Int[Array, "b h w"],
        label: Int[Array, " b"] | None = None,
        above: Int[Array, "b h2 w2"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w {self.codes}"]:
        """The logits of every position given the codes before it, in float32.

        Args:
          codes: the codes.
          label: the classes of the grids, for a model that is conditioned on them.
          above: the codes of the grids above, for a model that is conditioned on them.
          train: whether values are dropped, which the rng "dropout" draws.
        """
        grid, reach = (codes.shape[1], codes.shape[2]), self.kernel // 2
        condition = self._joined(self.condition(above, grid, train=train), label)
        x = self.vectors(codes)
        # What is shifted down by a row and right by a column are the outputs: above the first row there is no bias either.
        rows = self.first_rows(margins(x, top=reach - 1, left=reach, right=reach))[:, :-1]
        left = self.first_left(margins(x, top=reach, left=reach - 1))[:, :, :-1]
        h = margins(rows, top=1) + margins(left, left=1)
        background = self.background(grid)
        for block in self.parts:
            h = block(h, background, condition, train=train)
        return self._head(h)

    def init_cache(self, batch: int, grid: tuple[int, int], above: Int[Array, "b h2 w2"] | None = None) -> SnailCache:
        """The cache before the first position, in which no code is known. Only codes above need the parameters.

        Args:
          batch: the number of grids.
          grid: the height and the width of a grid.
          above: the codes of the grids above, for a model that is conditioned on them.
        """
        height, width = grid
        reach = self.kernel // 2
        blocks = tuple(self._block(parent=None).init_cache(batch, grid) for _ in range(self.blocks))
        codes = jnp.zeros((batch, reach + 1, width + 2 * reach, self.codes), self.dtype)
        return SnailCache(codes, blocks, self.background((height, width)), self.condition(above, grid))

    def step(
        self,
        before: Int[Array, " b"],
        cache: SnailCache,
        position: int | Int[Array, ""],
        label: Int[Array, " b"] | None = None,
    ) -> tuple[Float[Array, "b {self.codes}"], SnailCache]:
        """The logits of one position, and the cache with what was computed for it.

        Args:
          before: the codes of the position before; at position 0 they have no effect.
          cache: the cache after the position before.
          position: the number of the position, from 0, row by row.
          label: the classes of the grids, for a model that is conditioned on them.
        """
        reach, width = self.kernel // 2, cache.background.shape[2]
        position = jnp.asarray(position, jnp.int32)
        row, column = position // width, position % width
        known = jnp.where(position > 0, self.vectors(before), jnp.zeros((), self.dtype))
        codes = cache.codes.at[:, -1, (column - 1) % width + reach].set(known)
        codes = jnp.where(column == 0, next_row(codes, jnp.zeros_like(codes[:, :1])), codes)

        def here(maps: Array) -> Array:
            return lax.dynamic_slice(maps, (0, row, column, 0), (len(maps), 1, 1, maps.shape[-1]))

        rows = self.first_rows(lax.dynamic_slice_in_dim(codes[:, :-1], column, self.kernel, axis=2))
        left = self.first_left(lax.dynamic_slice_in_dim(codes, column, reach, axis=2))
        h = jnp.where(row > 0, rows, jnp.zeros_like(rows)) + jnp.where(column > 0, left, jnp.zeros_like(left))
        condition = self._joined(None if cache.condition is None else here(cache.condition), label)
        blocks = []
        for block, own in zip(self.parts, cache.blocks, strict=True):
            h, own = block.step(h, own, position, column, here(cache.background), condition)
            blocks.append(own)
        return self._head(h)[:, 0, 0], cache._replace(codes=codes, blocks=tuple(blocks))

    def vectors(self, codes: Int[Array, "*shape"]) -> Float[Array, "*shape {self.codes}"]:
        """The codes as vectors of one 1 among zeros; nan for a number that is no code."""
        there = (codes >= 0) & (codes < self.codes)
        return jnp.where(there[..., None], jax.nn.one_hot(codes, self.codes, dtype=self.dtype), jnp.nan)

    def background(self, grid: tuple[int, int]) -> Float[Array, "1 h w 2"]:
        """The coordinates of the positions, from -1/2 on: (i - h/2) / h of row i, and the same of columns.

        Args:
          grid: the height h and the width of a grid.
        """
        rows, columns = ((jnp.arange(n, dtype=jnp.float32) - n / 2) / n for n in grid)
        return jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1)[None].astype(self.dtype)

    def condition(
        self, above: Int[Array, "b h2 w2"] | None, grid: tuple[int, int], *, train: bool = False
    ) -> Float[Array, "b h w c"] | None:
        """The maps of the grids above, enlarged to the size of a grid; None for a model without a grid above.

        Args:
          above: the codes of the grids above.
          grid: the height and the width of a grid.
          train: whether values are dropped.
        """
        if (above is not None) != bool(self.above):
            raise InputError(
                "This model was made for {} and got {}; give both a grid above, or neither.".format(
                    f"{self.above} codes of a grid above" if self.above else "no grid above", "none" if above is None else "one"
                )
            )
        if above is None:
            return None
        there = (above >= 0) & (above < self.above)
        h = jnp.where(there[..., None], jax.nn.one_hot(above, self.above, dtype=self.dtype), jnp.nan)
        h = self.enter_above(h)
        for block in self.blocks_above:
            h = block(h, train=train)
        for axis, side in enumerate(grid, start=1):
            h = h.repeat(-(-side // h.shape[axis]), axis=axis)
        return h[:, : grid[0], : grid[1]]

    def _joined(self, maps: Array | None, label: Array | None) -> Array | None:
        """The maps of the grids above and the vectors of the classes, of which there may be one, both or neither."""
        check_label(self.classes, label)
        if label is None:
            return maps
        told = self.embed_class(label)[:, None, None]
        return told if maps is None else maps + told

    def _block(self, **fields: Any) -> "PixelBlock":
        return PixelBlock(
            self.channels,
            self.width,
            self.kernel,
            self.residuals,
            self.attention,
            self.heads,
            self.dropout,
            self.dtype,
            **fields,
        )

    def _head(self, h: Array) -> Array:
        return self.logits(jax.nn.elu(h)).astype(jnp.float32)


class PixelBlock(nn.Module):
    """Gated causal convolutions, and attention to the positions before, or a 1x1 convolution in its place.

    Fields:
      channels: the channels of the maps.
      width: the channels within a residual block.
      kernel: the side of the kernels.
      residuals: the number of residual blocks.
      attention: whether the block attends.
      heads: the number of heads.
      dropout: share of the values and weights that are dropped in training.
      dtype: the dtype of the computation; the parameters are float32.
    """

    channels: int
    width: int
    kernel: int
    residuals: int
    attention: bool
    heads: int
    dropout: float
    dtype: Any

    def setup(self) -> None:
        """Makes the layers."""
        c = self.channels
        self.causal = [self._causal() for _ in range(self.residuals)]
        if self.attention:
            own: dict[str, Any] = {"dropout": self.dropout, "dtype": self.dtype}
            self.to_query, self.to_key = GatedResidual(c + 2, c, **own), GatedResidual(2 * c + 2, c, **own)
            self.attend = self._attention()
            self.out: Any = GatedResidual(c, c, **own)
        else:
            self.out = normed(c, dtype=self.dtype)

    def __call__(self, x: Array, background: Array, condition: Array | None, *, train: bool) -> Array:
        """Maps whole maps."""
        h = x
        for block in self.causal:
            h = block(h, condition=condition, train=train)
        seen = jnp.broadcast_to(background, (*h.shape[:3], 2))
        if not self.attention:
            return self.out(jnp.concatenate([h, seen], axis=-1))
        query, context = self._queries(x, h, seen, train)
        return self.out(h, attended=self.attend(query, context, train=train), train=train)

    def init_cache(self, batch: int, grid: tuple[int, int]) -> tuple[Any, Any]:
        """The caches of the residual blocks and of the attention before the first position."""
        causal = tuple(self._causal(parent=None).init_cache(batch, grid[1]) for _ in range(self.residuals))
        return causal, self._attention(parent=None).init_cache(batch, grid[0] * grid[1]) if self.attention else None

    def step(
        self, x: Array, cache: tuple[Any, Any], position: Array, column: Array, background: Array, condition: Array | None
    ) -> tuple[Array, tuple[Any, Any]]:
        """Maps one position, of which it gets the coordinates and the condition."""
        h, (rows, pairs), after = x, cache, []
        for block, own in zip(self.causal, rows, strict=True):
            h, own = block.step(h, own, column, condition)
            after.append(own)
        seen = jnp.broadcast_to(background, (*h.shape[:3], 2))
        if not self.attention:
            return self.out(jnp.concatenate([h, seen], axis=-1)), (tuple(after), None)
        y, pairs = self.attend.step(*self._queries(x, h, seen, False), pairs, position)
        return self.out(h, attended=y), (tuple(after), pairs)

    def _queries(self, x: Array, h: Array, background: Array, train: bool) -> tuple[Array, Array]:
        """The maps that queries are made of, and those that keys and values are made of."""
        query = self.to_query(jnp.concatenate([h, background], axis=-1), train=train)
        return query, self.to_key(jnp.concatenate([x, h, background], axis=-1), train=train)

    def _causal(self, **fields: Any) -> GatedResidual:
        return GatedResidual(self.channels, self.width, self.kernel, True, self.dropout, self.dtype, **fields)

    def _attention(self, **fields: Any) -> CausalAttention:
        return CausalAttention(self.channels // 2, self.heads, self.dropout, self.dtype, **fields)
