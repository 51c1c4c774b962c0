"""The layers of a PixelSNAIL: causal convolutions, gated residual blocks and causal attention, all with weight normalisation.

The blocks are also those of a PixelCNN++, with its convolutions and its function.

Each layer that looks back has two passes: over whole maps `[B, h, w, C]`, and over one position `[B, 1, 1, C]`, with a cache of
what was computed for the positions before it.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jaxgen.errors import SizeError
from jaxgen.models.autoregressive.rows import margins, next_row
from jaxgen.nn import Conv, KVCache, Masked, WeightNorm, attend, width_of_head


class CausalConv(nn.Module):
    r"""A convolution by which a position sees the k - 1 rows above it, and in its own row the k // 2 columns to its left.

    In the rows above it sees k // 2 columns to both sides as well. It does not see itself: what it knows of itself passes by
    the convolution, in the sum of a residual block. The kernel `[k, k]` is masked before its length is taken.

    Fields:
      features: the number of output channels.
      kernel: the side k of the kernel; an odd number, 3 or more.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Chen et al. 2018 (PixelSNAIL), section 2.1; the masked row is that of rosinality/vq-vae-2-pytorch.
    """

    features: int
    kernel: int = 5
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the convolution."""
        check_kernel(self.kernel)
        conv = Conv(self.features, (self.kernel, self.kernel), padding="VALID", dtype=self.dtype)
        self.conv = Masked(WeightNorm(conv), _before_the_middle_of_the_last_row)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Convolves whole maps."""
        side = self.kernel // 2
        return self.conv(margins(x, top=self.kernel - 1, left=side, right=side))

    def init_cache(self, batch: int, width: int, channels: int) -> Float[Array, "b k w2 c"]:
        """The rows before the first position, which are zero, with their margins; the current row is the last.

        Args:
          batch: the number of maps.
          width: the width of a map.
          channels: the channels of the input.
        """
        return jnp.zeros((batch, self.kernel, width + 2 * (self.kernel // 2), channels), self.dtype)

    def step(
        self, x: Float[Array, "b 1 1 c"], rows: Float[Array, "b k w2 c"], column: Int[Array, ""]
    ) -> tuple[Float[Array, "b 1 1 o"], Float[Array, "b k w2 c"]]:
        """Convolves at one position, and notes its input for the positions after it.

        Args:
          x: the input at this position.
          rows: the cache after the position before.
          column: the column of this position.
        """
        rows = jnp.where(column == 0, next_row(rows, jnp.zeros_like(rows[:, :1])), rows)
        y = self.conv(lax.dynamic_slice_in_dim(rows, column, self.kernel, axis=2))
        return y, rows.at[:, -1, column + self.kernel // 2].set(x[:, 0, 0].astype(rows.dtype))


class GatedResidual(nn.Module):
    r"""A gated residual block, $x + a \odot \sigma(b)$ with $(a, b) = W_2 * \mathrm{elu}(W_1 * \mathrm{elu}(x) + V s) + U c$.

    s is the output of an attention or what a short cut brings, and c a condition; both may be absent.

    Fields:
      channels: the channels of x.
      width: the channels between the two convolutions.
      kernel: the side of both kernels.
      causal: whether the convolutions are causal; otherwise they see both sides.
      dropout: share of the values before the second convolution that are dropped in training.
      dtype: the dtype of the computation; the parameters are float32.
      activation: the function of what the convolutions see.
      conv: makers of the two convolutions by their output channels, in place of those above.

    Source: Chen et al. 2018 (PixelSNAIL), figure 4; Salimans et al. 2017 (PixelCNN++), section 2.
    """

    channels: int
    width: int
    kernel: int = 1
    causal: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32
    activation: Callable[[Array], Array] = jax.nn.elu
    conv: tuple[Callable[[int], nn.Module], Callable[[int], nn.Module]] | None = None

    def setup(self) -> None:
        """Makes the convolutions."""
        first, second = self.conv or (self._conv, self._conv)
        self.first, self.second = first(self.width), second(2 * self.channels)
        self.attended = normed(self.width, dtype=self.dtype)
        self.condition = normed(2 * self.channels, use_bias=False, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self, x: Float[Array, "b h w c"], *, attended: Array | None = None, condition: Array | None = None, train: bool = False
    ) -> Float[Array, "b h w c"]:
        """Maps whole maps.

        Args:
          x: maps.
          attended: output s of an attention or of a short cut, `[B, h, w, S]`.
          condition: maps c that the block is conditioned on, `[B, h, w, D]`, or vectors `[B, 1, 1, D]` for all positions alike.
          train: whether values are dropped, which the rng "dropout" draws.
        """
        h = self.first(self.activation(x))
        if attended is not None:
            h = h + self.attended(self.activation(attended))
        h = self.second(self.drop(self.activation(h), deterministic=not train))
        return self._gated(x, h, condition)

    def init_cache(self, batch: int, width: int) -> tuple[Array, Array]:
        """The rows of both causal convolutions before the first position.

        Args:
          batch: the number of maps.
          width: the width of a map.
        """
        own = CausalConv(1, self.kernel, self.dtype, parent=None)
        return own.init_cache(batch, width, self.channels), own.init_cache(batch, width, self.width)

    def step(
        self, x: Float[Array, "b 1 1 c"], cache: tuple[Array, Array], column: Int[Array, ""], condition: Array | None = None
    ) -> tuple[Float[Array, "b 1 1 c"], tuple[Array, Array]]:
        """A causal block at one position.

        Args:
          x: the input at this position.
          cache: the rows after the position before.
          column: the column of this position.
          condition: the condition at this position, `[B, 1, 1, D]`.
        """
        h, first = self.first.step(self.activation(x), cache[0], column)
        h, second = self.second.step(self.activation(h), cache[1], column)
        return self._gated(x, h, condition), (first, second)

    def _conv(self, features: int) -> Any:
        if self.causal:
            return CausalConv(features, self.kernel, self.dtype)
        return normed(features, self.kernel, dtype=self.dtype)

    def _gated(self, x: Array, h: Array, condition: Array | None) -> Array:
        if condition is not None:
            h = h + self.condition(condition)
        return x + jax.nn.glu(h)


class CausalAttention(nn.Module):
    r"""Attention of each position to those before it, and not to itself; the first position gets zeros.

    Fields:
      width: the channels of queries, keys and values, those of all heads together.
      heads: the number of heads; it divides the width.
      dropout: the probability that a weight is dropped in training.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Chen et al. 2018 (PixelSNAIL), section 2.2; strict, and without a projection of the output, as in
    rosinality/vq-vae-2-pytorch.
    """

    width: int
    heads: int = 8
    dropout: float = 0.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the projections."""
        self.query, self.key, self.value = (WeightNorm(nn.Dense(self.width, dtype=self.dtype)) for _ in range(3))

    def __call__(
        self, x: Float[Array, "b h w c"], context: Float[Array, "b h w e"], *, train: bool = False
    ) -> Float[Array, "b h w o"]:
        """Attends over whole maps.

        Args:
          x: maps that the queries are made of.
          context: maps that the keys and the values are made of.
          train: whether weights are dropped, which the rng "dropout" draws.
        """
        b, h, w, _ = x.shape
        q, k, v = self._heads(x, context)
        places = jnp.arange(h * w)
        key = self.make_rng("dropout") if train and self.dropout else None
        y = attend(q, k, v, (places < places[:, None])[None], dropout=self.dropout, key=key)
        return self._seen(y, places).reshape(b, h, w, self.width)

    def init_cache(self, batch: int, positions: int) -> KVCache:
        """The keys and values before the first position, which are zero.

        Args:
          batch: the number of maps.
          positions: the number of positions of a map.
        """
        heads = (batch, positions, self.heads, width_of_head(self.width, self.heads))
        return KVCache(jnp.zeros(heads, self.dtype), jnp.zeros(heads, self.dtype))

    def step(
        self, x: Float[Array, "b 1 1 c"], context: Float[Array, "b 1 1 e"], cache: KVCache, position: Int[Array, ""]
    ) -> tuple[Float[Array, "b 1 1 o"], KVCache]:
        """Attends from one position, and notes its key and value for the positions after it.

        Args:
          x: map at this position, which the query is made of.
          context: map at this position, which the key and the value are made of.
          cache: the cache after the position before.
          position: the number of this position, row by row.
        """
        q, k, v = self._heads(x, context)
        before = (jnp.arange(cache.keys.shape[1]) < position)[None, None]
        y = self._seen(attend(q, cache.keys, cache.values, before), position[None])
        kept = KVCache(*(lax.dynamic_update_slice_in_dim(a, new, position, 1) for a, new in zip(cache, (k, v), strict=True)))
        return y.reshape(len(x), 1, 1, self.width), kept

    def _heads(self, x: Array, context: Array) -> tuple[Array, Array, Array]:
        """The queries, keys and values of each head, `[B, N, heads, d]`."""
        shape = (len(x), -1, self.heads, width_of_head(self.width, self.heads))
        q, k, v = (layer(a.astype(self.dtype)) for layer, a in ((self.query, x), (self.key, context), (self.value, context)))
        return q.reshape(shape), k.reshape(shape), v.reshape(shape)

    def _seen(self, y: Array, places: Array) -> Array:
        """Nothing at the first position, where a softmax over no position is one over all of them."""
        return jnp.where(places[:, None, None] > 0, y, jnp.zeros((), y.dtype))


def check_kernel(side: int) -> None:
    """Refuses the side of a kernel in which no position has others on both sides of it.

    Raises:
      SizeError: if it is even, or less than 3.
    """
    if side < 3 or not side % 2:
        raise SizeError(f"A causal kernel of {side} has no middle, or nothing to its sides; take an odd number from 3.")


def normed(features: int, kernel: int = 1, **fields: Any) -> WeightNorm:
    """A convolution with weight normalisation that keeps the size of its input.

    Args:
      features: the number of output channels.
      kernel: the side of the kernel; an odd number.
      **fields: other fields of `nn.Conv`.
    """
    return WeightNorm(Conv(features, (kernel, kernel), **fields))


def _before_the_middle_of_the_last_row(shape: tuple[int, ...]) -> Float[np.ndarray, "h w i o"]:
    """The mask of a kernel whose last row is that of the position itself."""
    kept = np.ones(shape, np.float32)
    kept[-1, shape[1] // 2 :] = 0
    return kept
