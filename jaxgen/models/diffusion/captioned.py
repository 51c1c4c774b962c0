"""A denoiser conditioned on a text or a class: an encoder, trained with it, and a network that looks at what it gives."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxgen.errors import SizeError
from jaxgen.nn import Embed, LayerNorm
from jaxgen.nn.transformer import Transformer


class TokenEncoder(nn.Module):
    """A Transformer over the tokens of a text, whose outputs all are given: a vector each.

    Every position sees all others but those that only fill the text up.

    Fields:
      vocabulary: number of tokens.
      length: tokens of a text.
      width: the width of the tokens' vectors.
      depth: number of blocks.
      heads: number of heads; it divides the width.
      padding: the token that fills texts up.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Rombach et al. 2022, section 4.3.1 (an encoder that is trained with the denoiser).
    """

    vocabulary: int
    length: int
    width: int = 64
    depth: int = 2
    heads: int = 4
    padding: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Int[Array, "b n"]) -> tuple[Float[Array, "b n e"], Bool[Array, "b n"]]:
        """Maps texts to vectors of their tokens, and says which of these belong to the text."""
        n = tokens.shape[1]
        if n > self.length:
            raise SizeError(f"Texts of {n} tokens are longer than the {self.length} that there are positions for; cut them.")
        normal = nn.initializers.normal
        embed = Embed(self.vocabulary, self.width, embedding_init=normal(0.02), dtype=self.dtype, name="embed")
        positions = self.param("positions", normal(0.01), (self.length, self.width), jnp.float32)
        there = tokens != self.padding
        x = embed(tokens) + positions[:n].astype(self.dtype)
        x = Transformer(self.depth, self.heads, dtype=self.dtype, name="transformer")(x, mask=there[:, None])
        return LayerNorm(dtype=self.dtype, name="norm")(x), there


class ClassToken(nn.Module):
    """A class as a text of one token.

    Fields:
      classes: the number of classes; the number after the last one stands for no class.
      width: the width of the vector.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Rombach et al. 2022, appendix E.2.1, and the authors' code (`ClassEmbedder`), whose vectors begin as N(0, 1) too.
    """

    classes: int
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, label: Int[Array, " b"]) -> tuple[Float[Array, "b 1 e"], Bool[Array, "b 1"]]:
        """The vector of each class, and that it is there."""
        init = nn.initializers.normal(1.0)
        vectors = Embed(self.classes + 1, self.width, embedding_init=init, dtype=self.dtype, name="embed")(label)
        return vectors[:, None], jnp.ones((len(label), 1), bool)


class Captioned(nn.Module):
    """A denoiser conditioned on the tokens of a text, or on a class.

    Fields:
      denoiser: the network, `(x_t, time, context=, mask=) -> output`, such as a `UNet`.
      encoder: the encoder, `tokens -> (vectors, mask)`, such as a `TokenEncoder`, or a `ClassToken` of labels.
    """

    denoiser: nn.Module
    encoder: nn.Module

    def __call__(
        self, x: Float[Array, "b *event"], time: Float[Array, " b"], tokens: Int[Array, "b *n"], *, train: bool = False
    ) -> Float[Array, "b *event"]:
        """Predicts from noisy examples and their texts."""
        context, mask = self.encoder(tokens)
        return self.denoiser(x, time, context=context, mask=mask, train=train)
