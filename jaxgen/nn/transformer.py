"""Pre-norm Transformers."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxgen.nn.attention import Attention
from jaxgen.nn.norm import LayerNorm
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


class TransformerBlock(nn.Module):
    r"""$x \leftarrow x + \mathrm{attention}(\mathrm{norm}(x))$, then $x \leftarrow x + \mathrm{mlp}(\mathrm{norm}(x))$.

    What ends a residual branch starts at $(2\, \mathrm{depth})^{-1/2}$ of its scale, so that the sum over all branches does
    not grow with the depth.

    Fields:
      heads: number of heads; it divides the width.
      depth: number of blocks of the whole.
      expansion: hidden units of the MLP for each of the width.
      activation: the activation function between its two layers.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Vaswani et al. 2017; Radford et al. 2019 (GPT-2), section 2.3 (pre-norm, and the scale).
    """

    heads: int
    depth: int = 1
    expansion: int = 4
    activation: Callable[[Array], Array] = jax.nn.gelu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], mask: Bool[Array, "#b #n n"] | None = None) -> Float[Array, "b n c"]:
        """Maps a sequence; `mask` is false where a position (row) must not look."""
        width = x.shape[-1]
        normal = nn.initializers.normal
        # Of CLIP's code: width^-1/2, and (2 width)^-1/2 after the norm of the MLP. Attention's own are the former.
        ending = normal(1 / math.sqrt(2 * width * self.depth))
        attention = Attention(self.heads, out_init=ending, dtype=self.dtype, name="attention")
        x = x.astype(self.dtype)
        x = x + attention(LayerNorm(dtype=self.dtype, name="attention_norm")(x), mask=mask)
        y = LayerNorm(dtype=self.dtype, name="mlp_norm")(x)
        hidden = nn.Dense(self.expansion * width, kernel_init=normal(1 / math.sqrt(2 * width)), dtype=self.dtype, name="mlp_in")
        return x + nn.Dense(width, kernel_init=ending, dtype=self.dtype, name="mlp_out")(self.activation(hidden(y)))


class Transformer(nn.Module):
    """A stack of pre-norm blocks, without embeddings before or a norm after.

    Fields:
      depth: number of blocks.
      heads: number of heads; it divides the width.
      causal: a position sees itself and earlier ones only.
      expansion: hidden units of an MLP for each of the width.
      activation: the activation function in the MLPs.
      remat: whether to recompute a block's intermediate values in the backward pass.
      dtype: the dtype of the computation; the parameters are float32.
      loop: whether the blocks run as a loop (`lax.scan`): one block is compiled instead of all, and each uses the memory of the
        one before. By default they do on a CPU, where the gradient is faster so. The parameters are the same, `block_0`,
        `block_1` ..., and so are the values, but for rounding. `capture_intermediates` sees nothing inside of a loop.
    """

    depth: int
    heads: int
    causal: bool = False
    expansion: int = 4
    activation: Callable[[Array], Array] = jax.nn.gelu
    remat: bool = False
    dtype: Any = jnp.float32
    loop: bool | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], mask: Bool[Array, "#b #n n"] | None = None) -> Float[Array, "b n c"]:
        """Maps a sequence; `mask` is false where a position (row) must not look."""
        if self.causal:
            mask = causal_mask(x.shape[1]) if mask is None else mask & causal_mask(x.shape[1])
        of_block = (self.heads, self.depth, self.expansion, self.activation, self.dtype)
        loop = jax.default_backend() == "cpu" if self.loop is None else self.loop
        if loop and not self.is_initializing():
            return self._in_a_loop(TransformerBlock(*of_block, parent=None), x, mask)
        block = nn.remat(TransformerBlock) if self.remat else TransformerBlock
        for i in range(self.depth):
            x = block(*of_block, name=f"block_{i}")(x, mask)
        return x

    def _in_a_loop(self, block: TransformerBlock, x: Array, mask: Array | None) -> Array:
        """The blocks one after another, over their parameters as arrays with one more axis."""
        own = self.variables["params"]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(own[f"block_{i}"] for i in range(self.depth)))

        def step(x: Array, params: PyTree) -> tuple[Array, None]:
            return jnp.asarray(block.apply({"params": params}, x, mask)), None

        # In a loop nothing that is equal can be merged across the two passes, so that no barrier is needed against it.
        return lax.scan(jax.checkpoint(step, prevent_cse=False) if self.remat else step, x.astype(self.dtype), stacked)[0]
