"""The block that Transformers are made of."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxgen.nn.attention import Attention, KVCache
from jaxgen.nn.norm import LayerNorm
from jaxgen.nn.regularisation import drop_path, dropout
from jaxgen.types import Key


class Initializers(NamedTuple):
    """The initializers of a block.

    Fields:
      attention: the initializer of the kernels of queries, keys and values.
      attention_out: the initializer of the kernel that ends the attention.
      mlp_in: the initializer of the kernel of the MLP's first layer.
      mlp_out: the initializer of the kernel of its second layer.
      mlp_bias: the initializer of the biases of both.
    """

    attention: nn.initializers.Initializer
    attention_out: nn.initializers.Initializer
    mlp_in: nn.initializers.Initializer
    mlp_out: nn.initializers.Initializer
    mlp_bias: nn.initializers.Initializer = nn.initializers.zeros_init()


def scaled_by_depth(width: int, depth: int, layer: int) -> Initializers:
    r"""Normal kernels; what ends a branch starts at $(2\, \mathrm{depth})^{-1/2}$ of its scale.

    So the sum over all branches does not grow with the depth.

    Args:
      width: the width of the sequence's vectors.
      depth: the number of blocks.
      layer: the number of the block, from 0.

    Source: Radford et al. 2019 (GPT-2), section 2.3; the standard deviations are those of CLIP's code.
    """
    normal = nn.initializers.normal
    # Of CLIP's code: width^-1/2, and (2 width)^-1/2 after the norm of the MLP. Attention's own are the former.
    ending = normal(1 / math.sqrt(2 * width * depth))
    return Initializers(nn.initializers.lecun_normal(), ending, normal(1 / math.sqrt(2 * width)), ending)


def xavier(width: int, depth: int, layer: int) -> Initializers:
    """Xavier's uniform kernels, and MLP biases that are almost zero, as in the code of ViT.

    Args:
      width: the width of the sequence's vectors.
      depth: the number of blocks.
      layer: the number of the block, from 0.

    Source: Glorot & Bengio 2010, equation 16; Dosovitskiy et al. 2021.
    """
    uniform = nn.initializers.xavier_uniform()
    return Initializers(uniform, uniform, uniform, uniform, nn.initializers.normal(1e-6))


class TransformerBlock(nn.Module):
    r"""$x \leftarrow x + \mathrm{attention}(\mathrm{norm}(x))$, then $x \leftarrow x + \mathrm{mlp}(\mathrm{norm}(x))$.

    With a context there is a cross-attention to it between the two, by the same rule. With `post_norm` the norms come after
    the sums, $x \leftarrow \mathrm{norm}(x + f(x))$. What a branch adds is, in this order, subject to dropout, multiplied by a
    learned scale for each channel (`layer_scale`), and dropped as a whole (`drop_path`).

    Fields:
      heads: number of heads; it divides the width.
      depth: number of blocks of the whole.
      expansion: hidden units of the MLP for each of the width.
      activation: the activation function between its two layers.
      dtype: the dtype of the computation; the parameters are float32.
      layer: the number of this block in the whole, from 0.
      initializers: the initializers, as a function of the width, the depth and the layer.
      attention: a function that makes an attention, `Attention` with other fields than the default ones:
        `functools.partial(Attention, key_bias=False, dropout=0.1)`.
      norm: a function that makes a norm.
      mlp_bias: whether the layers of the MLP have biases.
      gated: whether the hidden units are $a\, \mathrm{activation}(b)$, with a and b of one layer twice as wide (Shazeer 2020).
      dropout: the probability that a hidden unit, or a value at the end of a branch, is dropped in training.
      drop_path: the probability that an example's branch is dropped in training.
      layer_scale: the initial scale of the branches, for each channel; None has no scales.
      post_norm: whether the norms come after the sums, as in the first Transformers and in DETR.

    Source: Vaswani et al. 2017; Radford et al. 2019 (GPT-2), section 2.3 (pre-norm); Touvron et al. 2021 (CaiT), equation 4
    (the scales).
    """

    heads: int
    depth: int = 1
    expansion: int = 4
    activation: Callable[[Array], Array] = jax.nn.gelu
    dtype: Any = jnp.float32
    layer: int = 0
    initializers: Callable[[int, int, int], Initializers] = scaled_by_depth
    attention: Callable[..., Attention] = Attention
    norm: Callable[..., nn.Module] = LayerNorm
    mlp_bias: bool = True
    gated: bool = False
    dropout: float = 0.0
    drop_path: float | Array = 0.0
    layer_scale: float | None = None
    post_norm: bool = False

    def __call__(
        self,
        x: Float[Array, "b n c"],
        mask: Bool[Array, "#b #n n"] | None = None,
        bias: Float[Array, "#b #h #n #n"] | None = None,
        context: Float[Array, "b m e"] | None = None,
        context_mask: Bool[Array, "#b #n m"] | None = None,
        key: Key | None = None,
        positions: Float[Array, "#b n c"] | None = None,
        context_positions: Float[Array, "#b m e"] | None = None,
    ) -> Float[Array, "b n c"]:
        """Maps a sequence.

        Args:
          x: the sequence.
          mask: a mask that is false where a position (row) must not look.
          bias: numbers that are added to the logits of the attention.
          context: a sequence that is attended to as well.
          context_mask: a mask that is false where a position (row) must not look in the context.
          key: the key of all that is dropped; None drops nothing, as outside of training.
          positions: vectors of the positions, which are added to the inputs of queries and keys but not of values, as in DETR.
          context_positions: such vectors of the context.

        Returns:
          One vector for each position.
        """
        return self._run(x, mask, bias, context, context_mask, key, positions, context_positions, None)[0]

    def init_cache(self, batch: int, length: int, width: int) -> KVCache:
        """A cache in which nothing is known yet, as `Attention.init_cache`."""
        return self.attention(self.heads, dtype=self.dtype, parent=None).init_cache(batch, length, width)

    def step(
        self,
        x: Float[Array, "b n c"],
        cache: KVCache,
        position: int | Int[Array, ""],
        mask: Bool[Array, "#b #n m"] | None = None,
        bias: Float[Array, "#b #h #n #m"] | None = None,
        context: Float[Array, "b k e"] | None = None,
        context_mask: Bool[Array, "#b #n k"] | None = None,
    ) -> tuple[Float[Array, "b n c"], KVCache]:
        """Maps the next positions of a sequence, causally, as `Attention.step`."""
        y, cache = self._run(x, mask, bias, context, context_mask, None, None, None, (cache, position))
        return y, cache

    @property
    def drops(self) -> bool:
        """Whether anything is drawn in training."""
        return bool(self.dropout or self.drop_path or self.attention(self.heads, parent=None).dropout)

    @nn.compact
    def _run(
        self,
        x: Array,
        mask: Array | None,
        bias: Array | None,
        context: Any,
        context_mask: Array | None,
        key: Key | None,
        positions: Array | None,
        context_positions: Array | None,
        past: tuple[KVCache, int | Array] | None,
    ) -> tuple[Array, Any]:
        width, cache = x.shape[-1], None
        start = self.initializers(width, self.depth, self.layer)
        keys: Iterator[Key | None] = itertools.repeat(None) if key is None else iter(jax.random.split(key, 9))
        attention = functools.partial(
            self.attention, self.heads, kernel_init=start.attention, out_init=start.attention_out, dtype=self.dtype
        )

        def dense(features: int, kernel_init: nn.initializers.Initializer, name: str) -> nn.Dense:
            of_bias: dict[str, Any] = {"use_bias": self.mlp_bias, "bias_init": start.mlp_bias}
            return nn.Dense(features, kernel_init=kernel_init, dtype=self.dtype, name=name, **of_bias)

        def to_itself(y: Array) -> Array:
            nonlocal cache
            layer = attention(name="attention")
            if past is not None:
                y, cache = layer.step(y, *past, mask=mask, bias=bias)
                return y
            q = self._placed(y, positions)
            return layer(q, q, y, mask=mask, bias=bias, key=next(keys))

        def to_context(y: Array) -> Array:
            q, k = self._placed(y, positions), self._placed(context, context_positions)
            return attention(name="cross_attention")(q, k, context, mask=context_mask, key=next(keys))

        def mlp(y: Array) -> Array:
            hidden = dense((1 + self.gated) * self.expansion * width, start.mlp_in, "mlp_in")(y)
            if self.gated:
                hidden, gate = jnp.split(hidden, 2, axis=-1)
                hidden = hidden * self.activation(gate)
            else:
                hidden = self.activation(hidden)
            return dense(width, start.mlp_out, "mlp_out")(dropout(hidden, self.dropout, next(keys)))

        x = x.astype(self.dtype)
        for name, branch in (("attention", to_itself), ("cross_attention", to_context), ("mlp", mlp)):
            if branch is to_context and context is None:
                continue
            norm = self.norm(dtype=self.dtype, name=f"{name}_norm")
            y = dropout(branch(x if self.post_norm else norm(x)), self.dropout, next(keys))
            if self.layer_scale is not None:
                scale = self.param(f"{name}_scale", nn.initializers.constant(self.layer_scale), (width,), jnp.float32)
                y = y * scale.astype(self.dtype)
            x = x + drop_path(y, self.drop_path, next(keys))
            x = norm(x) if self.post_norm else x
        return x, cache

    def _placed(self, x: Array, positions: Array | None) -> Array:
        return x if positions is None else x.astype(self.dtype) + positions.astype(self.dtype)
