"""Stacks of transformer blocks."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxgen.nn.attention import KVCache
from jaxgen.nn.transformer_block import TransformerBlock
from jaxgen.types import PyTree


def quick_gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""The sigmoid approximation of GELU, $x\, \sigma(1.702 x)$. Source: Hendrycks & Gimpel 2016, section 2."""
    return x * jax.nn.sigmoid(1.702 * x)


def causal_mask(n: int) -> Bool[Array, "1 {n} {n}"]:
    """True where a position (row) may look: at itself and what comes before.

    >>> causal_mask(3)[0].astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    return jnp.tril(jnp.ones((1, n, n), bool))


class Transformer(nn.Module):
    r"""A stack of blocks, pre-norm ones by default, without embeddings before or a norm after.

    A sequence is decoded position by position with a cache, which is an ordinary value that a loop carries; it is causal:

    >>> model, x = Transformer(depth=2, heads=2, causal=True), jnp.ones((1, 3, 4))
    >>> variables = model.init(jax.random.key(0), x)
    >>> decode = lambda cache, i: model.apply(variables, x[:, :1], cache, i, method="step")[::-1]
    >>> _, y = lax.scan(decode, model.init_cache(batch=1, length=3, width=4), jnp.arange(3))
    >>> y.shape
    (3, 1, 1, 4)

    Fields:
      depth: number of blocks.
      heads: number of heads; it divides the width.
      causal: a position sees itself and earlier ones only.
      expansion: hidden units of an MLP for each of the width.
      activation: the activation function in the MLPs.
      remat: whether to recompute a block's intermediate values in the backward pass.
      dtype: the dtype of the computation; the parameters are float32.
      loop: whether the blocks run as a loop (`lax.scan`): one block is compiled instead of all, and each uses the memory of the
        one before. By default they do on a CPU, where the gradient is faster so, unless intermediate values are asked for:
        `capture_intermediates` and the collection `attention` see nothing inside of a loop. The parameters are the same,
        `block_0`, `block_1` ..., and so are the values, but for rounding, also of what is dropped in training.
      block: a function that makes a block, `TransformerBlock` with other fields than the default ones,
        `functools.partial(TransformerBlock, layer_scale=1e-5, dropout=0.1)`, or another module that is called alike.
      drop_path: the probability that the last block's branches are dropped in training; it grows linearly from zero at the
        first block (Huang et al. 2016, equation 4, with the blocks counted from zero, as in the code of BEiT).
    """

    depth: int
    heads: int
    causal: bool = False
    expansion: int = 4
    activation: Callable[[Array], Array] = jax.nn.gelu
    remat: bool = False
    dtype: Any = jnp.float32
    loop: bool | None = None
    block: Callable[..., Any] = TransformerBlock
    drop_path: float = 0.0

    def __call__(
        self,
        x: Float[Array, "b n c"],
        mask: Bool[Array, "*l #b #n n"] | None = None,
        *,
        bias: Float[Array, "*k #b #h #n #n"] | None = None,
        context: Float[Array, "b m e"] | None = None,
        context_mask: Bool[Array, "#b #n m"] | None = None,
        positions: Float[Array, "#b n c"] | None = None,
        context_positions: Float[Array, "#b m e"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b n c"]:
        """Maps a sequence.

        Args:
          x: the sequence.
          mask: a mask that is false where a position (row) must not look; with one more axis in front, a mask for each block.
          bias: numbers that are added to the logits of all attentions, such as those of relative positions; with one more
            axis in front, numbers for each block.
          context: a sequence that every block attends to as well.
          context_mask: a mask that is false where a position (row) must not look in the context.
          positions: vectors of the positions, which every block adds to the inputs of queries and keys but not of values.
          context_positions: such vectors of the context.
          train: whether values are dropped, which the rng "dropout" draws.

        Returns:
          One vector for each position.
        """
        if self.causal:
            mask = causal_mask(x.shape[1]) if mask is None else mask & causal_mask(x.shape[1])
        return self._run(x, mask, bias, (context, context_mask), (positions, context_positions), train, None, None)[0]

    def init_cache(self, batch: int, length: int, width: int) -> tuple[KVCache, ...]:
        """A cache for each block, in which nothing is known yet; the arguments are those of `Attention.init_cache`."""
        return (self._block(0, parent=None).init_cache(batch, length, width),) * self.depth

    def step(
        self,
        x: Float[Array, "b n c"],
        cache: tuple[KVCache, ...],
        position: int | Int[Array, ""],
        mask: Bool[Array, "*l #b #n m"] | None = None,
        *,
        bias: Float[Array, "*k #b #h #n #m"] | None = None,
        context: Float[Array, "b k e"] | None = None,
        context_mask: Bool[Array, "#b #n k"] | None = None,
    ) -> tuple[Float[Array, "b n c"], tuple[KVCache, ...]]:
        """Maps the next positions of a sequence to what `__call__` gives for them in the whole, without computing the others.

        Args:
          x: the next n positions: one while sampling, or a whole prefix.
          cache: the keys and values of the positions before, for each block.
          position: the number of the first of them, from 0.
          mask: a mask over all positions of the cache, joined with the causal one; with one more axis in front, for each block.
          bias: numbers that are added to the logits, over all positions of the cache; with one more axis, for each block.
          context: a sequence that every block attends to as well.
          context_mask: a mask that is false where a position (row) must not look in the context.

        Returns:
          One vector for each position of `x`, and the cache with their keys and values. Positions that the cache has no
          place for give nan.

        Raises:
          ValueError: if the stack is not causal: earlier positions would have to see the next ones.
        """
        if not self.causal:
            raise ValueError("a Transformer is decoded step by step only if it is causal; make it with causal=True")
        return self._run(x, mask, bias, (context, context_mask), (None, None), False, cache, position)

    def _block(self, layer: int, **fields: Any) -> Any:
        own = (self.heads, self.depth, self.expansion, self.activation, self.dtype, layer)
        return self.block(*own, **({"drop_path": float(self._rates()[layer])} if self.drop_path else {}) | fields)

    def _rates(self) -> np.ndarray:
        return np.linspace(0, self.drop_path, self.depth)

    @nn.compact
    def _run(
        self,
        x: Array,
        mask: Array | None,
        bias: Array | None,
        context: tuple[Array | None, Array | None],
        positions: tuple[Array | None, Array | None],
        train: bool,
        cache: tuple[KVCache, ...] | None,
        position: Any,
    ) -> tuple[Array, Any]:
        drops = train and self._block(self.depth - 1, parent=None).drops
        keys = jax.random.split(self.make_rng("dropout"), self.depth) if drops else None
        masks, biases = (a if a is not None and a.ndim == ndim else None for a, ndim in ((mask, 4), (bias, 5)))

        def of_block(mask_: Any, bias_: Any, key: Any) -> tuple[Any, ...]:
            return mask if masks is None else mask_, bias if biases is None else bias_, *context, key, *positions

        each = (masks, biases, keys)
        if cache is None and not self.is_initializing() and self._loops():
            return self._in_a_loop(x, each, of_block), None
        new = []
        for i in range(self.depth):
            block, own = self._block(i, name=f"block_{i}"), of_block(*(None if a is None else a[i] for a in each))
            if cache is not None:
                x, kv = block.step(x, cache[i], position, *own[:4])
                new.append(kv)
            elif self.remat:
                x = nn.remat(lambda block, x, *own: block(x, *own))(block, x, *own)
            else:
                x = block(x, *own)
        return x, tuple(new)

    def _loops(self) -> bool:
        if self.loop is not None:
            return self.loop
        seen = self.is_mutable_collection("intermediates") or self.is_mutable_collection("attention")
        return jax.default_backend() == "cpu" and not seen

    def _in_a_loop(self, x: Array, each: tuple[Any, ...], of_block: Callable[..., tuple[Any, ...]]) -> Array:
        """The blocks one after another, over their parameters as arrays with one more axis."""
        own = self.variables["params"]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(own[f"block_{i}"] for i in range(self.depth)))
        rates = jnp.asarray(self._rates(), jnp.float32) if self.drop_path else None

        def step(x: Array, xs: tuple[PyTree, Any, Any]) -> tuple[Array, None]:
            params, rate, each = xs
            block = self._block(0, parent=None, **({} if rate is None else {"drop_path": rate}))
            return jnp.asarray(block.apply({"params": params}, x, *of_block(*each))), None

        # In a loop nothing that is equal can be merged across the two passes, so that no barrier is needed against it.
        step = jax.checkpoint(step, prevent_cse=False) if self.remat else step
        return lax.scan(step, x.astype(self.dtype), (stacked, rates, each))[0]
