"""The text encoder: a causal Transformer whose output at the end token is the text's vector."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.errors import SizeError
from jaxgen.nn import Embed, LayerNorm
from jaxgen.nn.transformer import Transformer, quick_gelu


class TextTransformer(nn.Module):
    """A Transformer over tokens, whose output at the end token is the text's vector.

    Since a position sees only what comes before it, what follows the end token (padding) changes nothing.

    Fields:
      vocabulary: number of tokens.
      length: tokens of a text at most.
      width: the width of the tokens' vectors.
      depth: number of blocks.
      heads: number of heads; it divides the width.
      outputs: the dimension D of the text's vector.
      end: the end token; every text has one.
      remat: whether to recompute the blocks in the backward pass.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Radford et al. 2021, section 2.4; the initial scales are those of the authors' code.
    """

    vocabulary: int
    length: int = 77
    width: int = 512
    depth: int = 12
    heads: int = 8
    outputs: int = 512
    end: int = 2
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Int[Array, "b n"], *, train: bool = False) -> Float[Array, "b d"]:
        """Maps texts to vectors."""
        n = tokens.shape[1]
        if n > self.length:
            raise SizeError(f"Texts of {n} tokens are longer than the {self.length} that there are positions for; cut them.")
        normal = nn.initializers.normal
        embed = Embed(self.vocabulary, self.width, embedding_init=normal(0.02), dtype=self.dtype, name="embed")
        positions = self.param("positions", normal(0.01), (self.length, self.width), jnp.float32)
        x = embed(tokens) + positions[:n].astype(self.dtype)
        x = Transformer(self.depth, self.heads, True, 4, quick_gelu, self.remat, self.dtype, name="transformer")(x)
        # Before the norm, which then has one vector per text to do.
        end = (tokens == self.end).argmax(1)
        x = jnp.take_along_axis(x, end[:, None, None], axis=1)[:, 0]
        x = LayerNorm(dtype=self.dtype, name="norm")(x)
        project = normal(1 / math.sqrt(self.width))
        return nn.Dense(self.outputs, use_bias=False, kernel_init=project, dtype=self.dtype, name="projection")(x)
