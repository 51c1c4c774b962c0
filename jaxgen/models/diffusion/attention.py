"""Attention among the pixels of a map, and from these to a context."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxgen.nn import Attention, Conv, GroupNorm, Initializers, TransformerBlock


class SelfAttention(nn.Module):
    r"""Each pixel looks at all, $s\,(x + f(x))$ with a scale s; at the start, with s = 1, it is the identity.

    Fields:
      heads: number of heads.
      dtype: the dtype of the computation; the parameters are float32.
      group_norm: a function that makes the normalisation.
      attention: a function that makes the attention.
      out_init: the initializer of the kernel that ends f.
      scale: the factor s of the sum.
    """

    heads: int = 1
    dtype: Any = jnp.float32
    group_norm: Callable[..., nn.Module] = GroupNorm
    attention: Callable[..., nn.Module] = Attention
    out_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Attends over the pixels of each example."""
        return self._attended(x)

    def _attended(self, x: Float[Array, "b h w c"], *context: Array, **options: Any) -> Float[Array, "b h w c"]:
        y = self.group_norm(dtype=self.dtype)(x).reshape(len(x), -1, x.shape[-1])
        y = self.attention(self.heads, out_init=self.out_init, dtype=self.dtype)(y, *context, **options)
        x = x + y.reshape(x.shape)
        return x if self.scale == 1 else x * self.scale


class CrossAttention(SelfAttention):
    r"""Each pixel looks at the vectors of a context, $s\,(x + f(x, c))$ with a scale s; with s = 1 it starts as the identity.

    Source: Rombach et al. 2022, section 3.3, here without the feed-forward part, which `SpatialTransformer` has.
    """

    @nn.compact
    def __call__(  # type: ignore[override]
        self, x: Float[Array, "b h w c"], context: Float[Array, "b n e"], mask: Bool[Array, "b n"] | None = None
    ) -> Float[Array, "b h w c"]:
        """Attends from the pixels of each example to its context."""
        return self._attended(x, context, mask=None if mask is None else mask[:, None])


class SpatialTransformer(nn.Module):
    r"""A Transformer over the pixels of a map between two 1x1 convolutions, $s\,(x + f(x, c))$ with a scale s.

    Its blocks look at the map, then at the context where there is one, and end in an MLP with gated hidden units (GEGLU).
    Queries, keys and values have no bias.

    Fields:
      heads: number of heads.
      depth: number of Transformer blocks.
      dtype: the dtype of the computation; the parameters are float32.
      group_norm: a function that makes the normalisation of the map; its epsilon is 1e-6 whatever that of the network is.
      kernel_init: the initializer of all kernels but the last.
      out_init: the initializer of the last convolution's kernel.
      scale: the factor s of the sum.

    Source: Rombach et al. 2022, appendix E.2.1, tables 15 and 16.
    """

    heads: int = 8
    depth: int = 1
    dtype: Any = jnp.float32
    group_norm: Callable[..., nn.Module] = GroupNorm
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    out_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    scale: float = 1.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        context: Float[Array, "b n e"] | None = None,
        mask: Bool[Array, "b n"] | None = None,
    ) -> Float[Array, "b h w c"]:
        """Attends over the pixels of each example and to its context."""
        b, h, w, c = x.shape
        y = self.group_norm(epsilon=1e-6, dtype=self.dtype)(x)
        y = Conv(c, (1, 1), kernel_init=self.kernel_init, dtype=self.dtype)(y).reshape(b, h * w, c)
        own = None if mask is None else mask[:, None]
        for layer in range(self.depth):
            block = TransformerBlock(
                self.heads,
                self.depth,
                activation=functools.partial(jax.nn.gelu, approximate=False),
                layer=layer,
                initializers=self._initializers,
                attention=functools.partial(Attention, query_bias=False, key_bias=False, value_bias=False),
                gated=True,
                dtype=self.dtype,
            )
            y = block(y, context=context, context_mask=own)
        y = Conv(c, (1, 1), kernel_init=self.out_init, dtype=self.dtype)(y.reshape(x.shape))
        x = x + y
        return x if self.scale == 1 else x * self.scale

    def _initializers(self, width: int, depth: int, layer: int) -> Initializers:
        return Initializers(*4 * (self.kernel_init,))
