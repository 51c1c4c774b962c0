"""The Transformer as a model of grids of integers."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.errors import SizeError
from jaxgen.models.autoregressive.label import check_label
from jaxgen.nn import Attention, Embed, KVCache, LayerNorm, LearnedPositions, Transformer, TransformerBlock


class TransformerPrior(nn.Module):
    """A causal Transformer over the codes of a grid, row by row, as in GPT-2.

    The input at a position is the vector of the code before it and the vector of the position. Before the first code there is a
    learned vector, or that of the class, which every position attends to.

    Fields:
      codes: the number K of codes.
      grid: the height and the width of the grids.
      width: the width of the vectors.
      depth: the number of blocks.
      heads: the number of heads; it divides the width.
      classes: the number of classes that the model is conditioned on; 0 for an unconditional model.
      dropout: share of the inputs, of the attention's weights and of the values in the blocks that are dropped in training.
      remat: whether to recompute the blocks in the backward pass to save memory.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Radford et al. 2019 (GPT-2), section 2.3; for images Chen et al. 2020 (Image GPT), section 2.2, and for the codes of
    a quantised autoencoder Esser et al. 2021 (VQGAN), section 3.2.
    """

    codes: int
    grid: tuple[int, int]
    width: int = 256
    depth: int = 6
    heads: int = 8
    classes: int = 0
    dropout: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        normal = nn.initializers.normal(0.02)
        self.embed = Embed(self.codes, self.width, normal, dtype=self.dtype)
        self.start = Embed(self.classes or 1, self.width, normal, dtype=self.dtype)
        self.positions = LearnedPositions(self.width, self.grid, table_init=normal, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        self.transformer = self._stack()
        self.norm = LayerNorm(dtype=self.dtype)
        self.logits = nn.Dense(self.codes, kernel_init=normal, dtype=self.dtype)

    def __call__(
        self, codes: Int[Array, "b h w"], label: Int[Array, " b"] | None = None, *, train: bool = False
    ) -> Float[Array, "b h w {self.codes}"]:
        """The logits of every position given the codes before it, in float32.

        Args:
          codes: the codes.
          label: the classes of the grids, for a model that is conditioned on them.
          train: whether values are dropped, which the rng "dropout" draws.
        """
        self._check_grid(codes.shape[1:])
        before = self.embed(codes.reshape(len(codes), -1)[:, :-1])
        x = jnp.concatenate([self._first(len(codes), label)[:, None], before], axis=1) + self.positions()
        y = self.transformer(self.drop(x, deterministic=not train), train=train)
        return self._head(y).reshape(*codes.shape, self.codes)

    def init_cache(self, batch: int, grid: tuple[int, int]) -> tuple[KVCache, ...]:
        """The cache before the first position, which is empty.

        Args:
          batch: the number of grids.
          grid: the height and the width of a grid, which are those that the model was made for.

        Raises:
          SizeError: if they are not.
        """
        self._check_grid(grid)
        return self._stack(parent=None).init_cache(batch, math.prod(grid), self.width)

    def step(
        self,
        before: Int[Array, " b"],
        cache: tuple[KVCache, ...],
        position: int | Int[Array, ""],
        label: Int[Array, " b"] | None = None,
    ) -> tuple[Float[Array, "b {self.codes}"], tuple[KVCache, ...]]:
        """The logits of one position, and the cache with what was computed for it.

        Args:
          before: the codes of the position before; at position 0 they have no effect.
          cache: the cache after the position before.
          position: the number of the position, from 0, row by row.
          label: the classes of the grids, for a model that is conditioned on them.
        """
        position = jnp.asarray(position, jnp.int32)
        x = jnp.where(position > 0, self.embed(before), self._first(len(before), label)) + self.positions()[position]
        y, cache = self.transformer.step(x[:, None], cache, position)
        return self._head(y)[:, 0], cache

    def _first(self, batch: int, label: Array | None) -> Float[Array, "b c"]:
        """The vectors before the first codes."""
        check_label(self.classes, label)
        return self.start(jnp.zeros(batch, jnp.int32) if label is None else label)

    def _stack(self, **fields: Any) -> Transformer:
        attention = functools.partial(Attention, dropout=self.dropout)
        block = functools.partial(TransformerBlock, dropout=self.dropout, attention=attention)
        return Transformer(self.depth, self.heads, True, remat=self.remat, dtype=self.dtype, block=block, **fields)

    def _head(self, y: Array) -> Array:
        return self.logits(self.norm(y)).astype(jnp.float32)

    def _check_grid(self, grid: tuple[int, ...]) -> None:
        if tuple(grid) != tuple(self.grid):
            raise SizeError(
                f"A Transformer with positions of a grid of {'x'.join(map(str, self.grid))} got one of "
                f"{'x'.join(map(str, grid))}; make it with the grid of the codes."
            )
