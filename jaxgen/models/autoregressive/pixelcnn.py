"""The gated PixelCNN: a convolutional model of grids of integers without a blind spot."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxgen.errors import SizeError
from jaxgen.models.autoregressive.label import check_label
from jaxgen.models.autoregressive.rows import margins, next_row
from jaxgen.nn import Conv, Embed


class PixelCache(NamedTuple):
    """The cache of the rows and columns before a position, as far as the kernels reach.

    Every array of rows has the current row at its end. The columns are those of the grid with a margin of zeros on both sides.

    Fields:
      codes: vectors of the codes in r + 1 rows, where r is the reach of the first kernel.
      vertical: maps of the vertical stack in the rows that each block reads.
      links: maps that each block's vertical stack hands to its horizontal one, in the current row.
      horizontal: maps of the horizontal stack in the columns before the position that each block reads, in the current row.
    """

    codes: Float[Array, "b r w e"]
    vertical: tuple[Float[Array, "b _ _ c"], ...]
    links: tuple[Float[Array, "b 1 _ d"], ...]
    horizontal: tuple[Float[Array, "b 1 _ c"], ...]


class GatedPixelCNN(nn.Module):
    r"""Two stacks of gated convolutions: one sees the rows above a position, the other the codes to the left in its row.

    The convolutions are gated, $\tanh(W_f * x + V_f y) \odot \sigma(W_g * x + V_g y)$ for a class y. In each block the
    horizontal stack gets the maps of the vertical one by a 1x1 convolution and adds what it makes of both to its own. The
    logits are read off at its end. So a position sees all positions before it that the kernels reach: there is no blind spot.
    The kernels have no weights that a mask would take away: the inputs are shifted, and padded above and to the left instead.

    Sampling a grid takes as much work as one full pass, and not as one for each position: the cache holds the few rows and
    columns that the kernels reach (Ramachandran et al. 2017).

    With the defaults but `first_kernel=3` and `embedding=1`, which takes the place of the intensity of a level, the layers are
    those of the PixelCNN of the UvA deep learning tutorials.

    Fields:
      codes: the number K of codes.
      channels: the channels of each stack.
      dilations: the dilation of each block's convolutions; as many as there are blocks.
      first_kernel: the side of the first, causal kernel; an odd number.
      kernel: the side of the kernels in the blocks; an odd number.
      embedding: the width of a code's vector.
      head: the channels of a 1x1 convolution before the one that gives the logits; 0 has none.
      classes: the number of classes that the model is conditioned on; 0 for an unconditional model.
      dropout: share of the gated values that are dropped in training, in each block.
      dtype: the dtype of the computation; the parameters are float32.

    Source: van den Oord et al. 2016 (Conditional image generation with PixelCNN decoders), figure 2 and equation 4.
    """

    codes: int
    channels: int = 64
    dilations: tuple[int, ...] = (1, 2, 1, 4, 1, 2, 1)
    first_kernel: int = 7
    kernel: int = 3
    embedding: int = 64
    head: int = 0
    classes: int = 0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        if self.first_kernel < 3 or not self.first_kernel % 2 or not self.kernel % 2:
            raise SizeError(
                f"Kernels of {self.first_kernel} and {self.kernel} have no middle, or nothing beside it; "
                "take odd numbers, and 3 or more for the first."
            )
        reach = self.reach
        self.embed = Embed(self.codes, self.embedding, dtype=self.dtype)
        self.first_vertical = Conv(self.channels, (reach, self.first_kernel), padding="VALID", dtype=self.dtype)
        self.first_horizontal = Conv(self.channels, (1, reach), padding="VALID", dtype=self.dtype)
        self.blocks = [
            GatedBlock(self.channels, self.kernel, dilation, self.classes, self.dropout, self.dtype)
            for dilation in self.dilations
        ]
        if self.head:
            self.hidden = Conv(self.head, (1, 1), dtype=self.dtype)
        self.logits = Conv(self.codes, (1, 1), dtype=self.dtype)

    @property
    def reach(self) -> int:
        """The distance that the first kernel sees upwards and to both sides."""
        return self.first_kernel // 2

    def __call__(
        self, codes: Int[Array, "b h w"], label: Int[Array, " b"] | None = None, *, train: bool = False
    ) -> Float[Array, "b h w {self.codes}"]:
        """The logits of every position given the codes before it, in float32.

        Args:
          codes: the codes.
          label: the classes of the grids, for a model that is conditioned on them.
          train: whether values are dropped, which the rng "dropout" draws.
        """
        check_label(self.classes, label)
        reach, width = self.reach, codes.shape[2]
        x = margins(self.embed(codes), top=reach, left=reach, right=reach)
        v = self.first_vertical(x[:, :-1])  # without the last row: a position sees the rows above its own
        h = self.first_horizontal(x[:, reach:, : width + reach - 1])  # and the columns to its left
        for block in self.blocks:
            pads = block.reach
            v, link = block.vertical(margins(v, top=pads, left=pads, right=pads), label, train=train)
            h = block.horizontal(margins(h, left=pads), link, label, train=train)
        return self._head(h)

    def init_cache(self, batch: int, grid: tuple[int, int]) -> PixelCache:
        """The cache before the first position, which is empty.

        Args:
          batch: the number of grids.
          grid: the height and the width of a grid.
        """

        def zeros(*shape: int) -> Array:
            return jnp.zeros((batch, *shape), self.dtype)

        width, reach = grid[1], self.reach
        reaches = [self.kernel // 2 * dilation for dilation in self.dilations]
        return PixelCache(
            zeros(reach + 1, width + 2 * reach, self.embedding),
            tuple(zeros(r + 1, width + 2 * r, self.channels) for r in reaches),
            tuple(zeros(1, width, 2 * self.channels) for _ in reaches),
            tuple(zeros(1, r, self.channels) for r in reaches),
        )

    def step(
        self,
        before: Int[Array, " b"],
        cache: PixelCache,
        position: int | Int[Array, ""],
        label: Int[Array, " b"] | None = None,
    ) -> tuple[Float[Array, "b {self.codes}"], PixelCache]:
        """The logits of one position, and the cache with what was computed for it.

        Args:
          before: the codes of the position before; at position 0 they have no effect.
          cache: the cache after the position before.
          position: the number of the position, from 0, row by row.
          label: the classes of the grids, for a model that is conditioned on them.
        """
        check_label(self.classes, label)
        reach, width = self.reach, cache.codes.shape[2] - 2 * self.reach
        position = jnp.asarray(position, jnp.int32)
        column = position % width
        known = jnp.where(position > 0, self.embed(before), jnp.zeros((), self.dtype))
        codes = cache.codes.at[:, -1, (column - 1) % width + reach].set(known)
        cache = nn.cond(
            column == 0, GatedPixelCNN._next_row, lambda _, same, __: same, self, cache._replace(codes=codes), label
        )
        h = self.first_horizontal(lax.dynamic_slice_in_dim(cache.codes[:, -1:], column, reach, axis=2))
        windows = []
        for block, link, window in zip(self.blocks, cache.links, cache.horizontal, strict=True):
            seen = jnp.concatenate([window, h], axis=2)
            windows.append(seen[:, :, 1:])
            h = block.horizontal(seen, lax.dynamic_slice_in_dim(link, column, 1, axis=2), label, train=False)
        return self._head(h)[:, 0, 0], cache._replace(horizontal=tuple(windows))

    def _next_row(self, cache: PixelCache, label: Array | None) -> PixelCache:
        """The vertical stack in the next row, in which no code is known yet."""
        codes = next_row(cache.codes, jnp.zeros_like(cache.codes[:, :1]))
        v = self.first_vertical(codes[:, :-1])
        windows, links = [], []
        for block, window in zip(self.blocks, cache.vertical, strict=True):
            seen = next_row(window, margins(v, left=block.reach, right=block.reach))
            v, link = block.vertical(seen, label, train=False)
            windows.append(seen)
            links.append(link)
        return PixelCache(codes, tuple(windows), tuple(links), jax.tree.map(jnp.zeros_like, cache.horizontal))

    def _head(self, h: Array) -> Array:
        h = jax.nn.elu(h)
        if self.head:
            h = jax.nn.elu(self.hidden(h))
        return self.logits(h).astype(jnp.float32)


class GatedBlock(nn.Module):
    """A gated convolution of each stack, of maps that have their margins already.

    Fields:
      channels: the channels of each stack.
      kernel: the side of the kernels; an odd number.
      dilation: the steps, in positions, between the positions of the kernels.
      classes: the number of classes.
      dropout: share of the gated values that are dropped in training.
      dtype: the dtype of the computation; the parameters are float32.
    """

    channels: int
    kernel: int
    dilation: int
    classes: int
    dropout: float
    dtype: Any

    def setup(self) -> None:
        """Makes the layers."""
        rows, twice = self.kernel // 2 + 1, 2 * self.channels
        apart: dict[str, Any] = {"padding": "VALID", "dilation": (self.dilation, self.dilation), "dtype": self.dtype}
        self.vertical_conv = Conv(twice, (rows, self.kernel), **apart)
        self.horizontal_conv = Conv(twice, (1, rows), **apart)
        self.link = Conv(twice, (1, 1), dtype=self.dtype)
        self.out = Conv(self.channels, (1, 1), dtype=self.dtype)
        if self.classes:
            self.vertical_class = Embed(self.classes, twice, dtype=self.dtype)
            self.horizontal_class = Embed(self.classes, twice, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    @property
    def reach(self) -> int:
        """The distance that the kernels see, which is the width of the margins."""
        return self.kernel // 2 * self.dilation

    def vertical(self, v: Array, label: Array | None, *, train: bool) -> tuple[Array, Array]:
        """The vertical stack's next maps, and what the horizontal stack gets of them."""
        y = self.vertical_conv(v)
        told = self.vertical_class(label) if self.classes else None
        return self._gated(y, told, train), self.link(y)

    def horizontal(self, h: Array, link: Array, label: Array | None, *, train: bool) -> Array:
        """The horizontal stack's next maps."""
        told = self.horizontal_class(label) if self.classes else None
        gated = self._gated(self.horizontal_conv(h) + link, told, train)
        return h[:, :, self.reach :] + self.out(gated)

    def _gated(self, y: Array, told: Array | None, train: bool) -> Array:
        if told is not None:
            y = y + told[:, None, None]
        value, gate = jnp.split(y, 2, axis=-1)
        return self.drop(jnp.tanh(value) * jax.nn.sigmoid(gate), deterministic=not train)
