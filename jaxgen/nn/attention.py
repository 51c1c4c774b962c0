"""Every attention of the package, so that its formulation is chosen in one place."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxgen.errors import SizeError
from jaxgen.nn.regularisation import dropout as drop
from jaxgen.types import Key


def attend(
    q: Float[Array, "b n h d"],
    k: Float[Array, "b m h d"],
    v: Float[Array, "b m h e"],
    mask: Bool[Array, "#b #n m"] | None = None,
    bias: Float[Array, "#b #h #n #m"] | None = None,
    *,
    dropout: float = 0.0,
    key: Key | None = None,
) -> Float[Array, "b n h e"]:
    r"""Scaled dot-product attention, $\mathrm{softmax}(q k^T / \sqrt d + b)\, v$ for each head; the softmax is in float32.

    Args:
      q: queries.
      k: keys.
      v: values.
      mask: a mask that is false where a query must not look; it may lack the batch or the queries as axes of length 1.
      bias: numbers b that are added to the logits of the softmax, such as those of relative positions.
      dropout: the probability that a weight is dropped.
      key: the key of the dropout; None drops nothing, as outside of training.

    Returns:
      One mixture of values per query.

    Source: Vaswani et al. 2017, equation 1.
    """
    if k.shape != v.shape or (dropout and key is not None):
        return mixed(drop(attention_weights(q, k, mask, bias), dropout, key), v)
    # JAX's own code promotes half precision to float32 there, which is refused where promotion is strict.
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(q, k, v, bias=bias, mask=None if mask is None else mask[:, None])


def attention_weights(
    q: Float[Array, "b n h d"],
    k: Float[Array, "b m h d"],
    mask: Bool[Array, "#b #n m"] | None = None,
    bias: Float[Array, "#b #h #n #m"] | None = None,
) -> Float[Array, "b h n m"]:
    r"""The weights of `attend`, $\mathrm{softmax}(q k^T / \sqrt d + b)$, in float32; those of a query add up to one.

    Args:
      q: queries.
      k: keys.
      mask: a mask that is false where a query must not look.
      bias: numbers b that are added to the logits.

    Returns:
      One weight for each head, query and key.
    """
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32) / math.sqrt(q.shape[-1])
    if bias is not None:
        logits = logits + bias.astype(jnp.float32)
    if mask is not None:
        logits = jnp.where(mask[:, None], logits, -0.7 * jnp.finfo(jnp.float32).max)
    return jax.nn.softmax(logits, axis=-1)


def mixed(weights: Float[Array, "b h n m"], v: Float[Array, "b m h e"]) -> Float[Array, "b n h e"]:
    """The values' mixtures by weights, in the dtype of the values."""
    return jnp.einsum("bhnm,bmhe->bnhe", weights.astype(v.dtype), v)


def width_of_head(channels: int, heads: int) -> int:
    """The channels that each head has; all have as many.

    Raises:
      SizeError: if the channels cannot be cut so.
    """
    if channels % heads:
        raise SizeError(f"{channels} channels cannot be cut into {heads} heads of equal size; give a width that they divide.")
    return channels // heads


class KVCache(NamedTuple):
    """The keys and values of a sequence's positions, as far as they are known; the others are zero.

    Fields:
      keys: the keys, for each position and head.
      values: the values, for each position and head.
    """

    keys: Float[Array, "b n h d"]
    values: Float[Array, "b n h e"]


class Attention(nn.Module):
    r"""Multi-head attention of a sequence to itself, or to a context.

    Its weights `[B, heads, N, M]` are returned on request, in the collection `attention`:
    `apply(variables, x, mutable=["attention"])`.

    A sequence is decoded position by position with a cache, which is an ordinary value that a loop carries:

    >>> layer, x = Attention(heads=2), jnp.ones((1, 3, 4))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> decode = lambda cache, i: layer.apply(variables, x[:, :1], cache, i, method="step")[::-1]
    >>> _, y = lax.scan(decode, layer.init_cache(batch=1, length=3, width=4), jnp.arange(3))
    >>> y.shape
    (3, 1, 1, 4)

    Fields:
      heads: number of heads; it divides the channels.
      out_init: the initializer of the output projection's kernel.
      dtype: the dtype of the computation; the parameters are float32.
      kernel_init: the initializer of the kernels of queries, keys and values.
      key_width: channels of the queries and of the keys, those of all heads together; None is the channels of the input.
      value_width: channels of the values, those of all heads together; None is the channels of the input.
      query_bias: whether the queries have a bias.
      key_bias: whether the keys have a bias. It adds the same to all logits of a query, and so changes no weight.
      value_bias: whether the values have a bias.
      out_bias: whether the output has a bias.
      dropout: the probability that a weight is dropped in training.

    Source: Vaswani et al. 2017, section 3.2.2.
    """

    heads: int
    out_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    key_width: int | None = None
    value_width: int | None = None
    query_bias: bool = True
    key_bias: bool = True
    value_bias: bool = True
    out_bias: bool = True
    dropout: float = 0.0

    def __call__(
        self,
        x: Float[Array, "b n c"],
        context: Float[Array, "b m e"] | None = None,
        values: Float[Array, "b m f"] | None = None,
        *,
        mask: Bool[Array, "#b #n m"] | None = None,
        bias: Float[Array, "#b #h #n #m"] | None = None,
        key: Key | None = None,
    ) -> Float[Array, "b n c"]:
        """Attends; each position of `x` looks at all of a context.

        Args:
          x: the sequence that the queries are made of.
          context: the sequence that the keys are made of; None is `x`.
          values: the sequence that the values are made of; None is the context.
          mask: a mask that is false where a position of `x` (row) must not look.
          bias: numbers that are added to the logits.
          key: the key of the dropout; None drops nothing, as outside of training.

        Returns:
          One vector for each position of `x`.
        """
        context = x if context is None else context
        return self._run(x, context, context if values is None else values, mask, bias, key, None)[0]

    def init_cache(self, batch: int, length: int, width: int) -> KVCache:
        """A cache in which nothing is known yet.

        Args:
          batch: the number of sequences B.
          length: the most positions that a sequence can have.
          width: channels of the input.

        Returns:
          Zeros.
        """
        key, value = (width_of_head(own or width, self.heads) for own in (self.key_width, self.value_width))
        start = jnp.zeros((batch, length, self.heads), self.dtype)
        return KVCache(*(jnp.zeros((*start.shape, size), start.dtype) for size in (key, value)))

    def step(
        self,
        x: Float[Array, "b n c"],
        cache: KVCache,
        position: int | Int[Array, ""],
        *,
        mask: Bool[Array, "#b #n m"] | None = None,
        bias: Float[Array, "#b #h #n #m"] | None = None,
    ) -> tuple[Float[Array, "b n c"], KVCache]:
        """Attends from the next positions of a sequence to themselves and to all that come before, causally.

        Args:
          x: the next n positions: one while sampling, or a whole prefix.
          cache: the keys and values of the positions before.
          position: the number of the first of them, from 0.
          mask: a mask over all positions of the cache, joined with the causal one.
          bias: numbers that are added to the logits, over all positions of the cache.

        Returns:
          One vector for each position of `x`, and the cache with their keys and values. Positions that the cache has no
          place for give nan.
        """
        y, cache = self._run(x, x, x, mask, bias, None, (cache, position))
        return y, cache

    @nn.compact
    def _run(
        self,
        x: Array,
        context: Array,
        values: Array,
        mask: Array | None,
        bias: Array | None,
        key: Key | None,
        past: tuple[KVCache, int | Array] | None,
    ) -> tuple[Array, Any]:
        channels = x.shape[-1]

        def projected(x: Array, name: str, width: int | None, use_bias: bool) -> Array:
            heads = (self.heads, width_of_head(width or channels, self.heads))
            dense = nn.DenseGeneral(heads, use_bias=use_bias, kernel_init=self.kernel_init, dtype=self.dtype, name=name)
            return dense(x.astype(self.dtype))

        q = projected(x, "query", self.key_width, self.query_bias)
        k = projected(context, "key", self.key_width, self.key_bias)
        v = projected(values, "value", self.value_width, self.value_bias)
        cache = None
        if past is not None:
            cache, seen = _extended(*past, k, v)
            k, v, mask = cache.keys, cache.values, seen if mask is None else seen & mask
        if self.is_mutable_collection("attention") and not self.is_initializing():
            weights = attention_weights(q, k, mask, bias)
            self.sow("attention", "weights", weights)
            y = mixed(drop(weights, self.dropout, key), v)
        else:
            y = attend(q, k, v, mask, bias, dropout=self.dropout, key=key)
        out = nn.DenseGeneral(
            channels, axis=(-2, -1), use_bias=self.out_bias, kernel_init=self.out_init, dtype=self.dtype, name="out"
        )
        return out(y), cache


def _extended(cache: KVCache, position: int | Array, k: Array, v: Array) -> tuple[KVCache, Array]:
    """The cache with n more keys and values, and which of its positions each of the n sees, `[1, n, N]`."""
    n, length = k.shape[1], cache.keys.shape[1]
    position = jnp.asarray(position, jnp.int32)
    # JAX would write what lies outside over the last positions.
    fits = (position >= 0) & (position + n <= length)
    k, v = (jnp.where(fits, a, jnp.full((), jnp.nan, a.dtype)) for a in (k, v))
    keys, values = (lax.dynamic_update_slice_in_dim(old, new, position, axis=1) for old, new in zip(cache, (k, v), strict=True))
    return KVCache(keys, values), jnp.arange(length)[None, None] <= position + jnp.arange(n)[None, :, None]
