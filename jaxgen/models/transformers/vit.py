"""The Vision Transformer: an image encoder over patches."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn import LayerNorm, PatchEmbedding
from jaxgen.nn.transformer import Transformer, quick_gelu


class VisionTransformer(nn.Module):
    """Patches and a class token through a Transformer; the class token's output is the image's vector.

    With the defaults it is the ViT-B/32 of the paper.

    Fields:
      patch: side of a patch; it divides the image's.
      width: the width of the patches' vectors.
      depth: number of blocks.
      heads: number of heads; it divides the width.
      outputs: the dimension D of the image's vector.
      remat: whether to recompute the blocks in the backward pass.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Dosovitskiy et al. 2020, equations 1 to 4, and the norm before the blocks of Radford et al. 2021, section 2.4.
    """

    patch: int = 32
    width: int = 768
    depth: int = 12
    heads: int = 12
    outputs: int = 512
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b d"]:
        """Maps images to vectors."""
        patches = PatchEmbedding(self.width, self.patch, use_bias=False, dtype=self.dtype, name="patches")
        x, b = patches(x), x.shape[0]
        start = nn.initializers.normal(1 / math.sqrt(self.width))
        token = self.param("class_token", start, (self.width,), jnp.float32).astype(self.dtype)
        positions = self.param("positions", start, (x.shape[1] + 1, self.width), jnp.float32).astype(self.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (b, 1, self.width)), x], axis=1) + positions
        x = LayerNorm(dtype=self.dtype, name="norm_before")(x)
        x = Transformer(self.depth, self.heads, False, 4, quick_gelu, self.remat, self.dtype, name="transformer")(x)
        x = LayerNorm(dtype=self.dtype, name="norm")(x[:, 0])
        return nn.Dense(self.outputs, use_bias=False, kernel_init=start, dtype=self.dtype, name="projection")(x)
