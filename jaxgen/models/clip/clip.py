"""CLIP's pair of encoders, and the temperature of their logits."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class CLIP(nn.Module):
    r"""Images and texts as vectors of one space, in which a picture lies in the direction of what is said of it.

    An encoder ends in its linear projection $W_i$ or $W_t$ to the common space; the vectors are not normalised here.

    Fields:
      image: the encoder, `[B, H, W, C]` to `[B, D]`.
      text: tokens `[B, N]` to `[B, D]`.
      temperature: the temperature $\tau$ at the start.

    Source: Radford et al. 2021, figure 3 and section 2.5.
    """

    image: nn.Module
    text: nn.Module
    temperature: float = 0.07

    def setup(self) -> None:
        r"""Makes the temperature's parameter, $t = \log 1 / \tau$."""
        start = nn.initializers.constant(-math.log(self.temperature))
        self.logit_scale = self.param("logit_scale", start, (), jnp.float32)

    def encode_image(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b d"]:
        """The images' vectors, in float32."""
        return self.image(x, train=train).astype(jnp.float32)

    def encode_text(self, tokens: Int[Array, "b n"], *, train: bool = False) -> Float[Array, "b d"]:
        """The texts' vectors, in float32."""
        return self.text(tokens, train=train).astype(jnp.float32)

    def scale(self, *, train: bool = False) -> Float[Array, ""]:
        r"""The factor $e^t = 1 / \tau$ that turns cosines into logits."""
        return jnp.exp(self.logit_scale)

    def __call__(self, x: Float[Array, "b h w c"], tokens: Int[Array, "b n"], *, train: bool = False) -> Any:
        """Both vectors, and the scale; what `init` traces."""
        return self.encode_image(x, train=train), self.encode_text(tokens, train=train), self.scale()
