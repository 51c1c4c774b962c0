"""Every attention of the package, so that its formulation is chosen in one place."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxgen.errors import SizeError


def attend(
    q: Float[Array, "b n h d"],
    k: Float[Array, "b m h d"],
    v: Float[Array, "b m h d"],
    mask: Bool[Array, "#b #n m"] | None = None,
) -> Float[Array, "b n h d"]:
    r"""Scaled dot-product attention, $\mathrm{softmax}(q k^T / \sqrt d)\, v$ for each head; the softmax is in float32.

    Args:
      q: queries.
      k: keys.
      v: values.
      mask: a mask that is false where a query must not look; it may lack the batch or the queries as axes of length 1.

    Returns:
      One mixture of values a query.

    Source: Vaswani et al. 2017, equation 1.
    """
    # JAX's own code promotes half precision to float32 there, which is refused where promotion is strict.
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(q, k, v, mask=None if mask is None else mask[:, None])


def width_of_head(channels: int, heads: int) -> int:
    """The channels that each head has; all have as many.

    Raises:
      SizeError: if the channels cannot be cut so.
    """
    if channels % heads:
        raise SizeError(f"{channels} channels cannot be cut into {heads} heads of equal size; give a width that they divide.")
    return channels // heads


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself, or to a context.

    Fields:
      heads: number of heads; it divides the channels.
      out_init: the initializer of the output projection's kernel.
      dtype: the dtype of the computation; the parameters are float32.
    """

    heads: int
    out_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n c"],
        context: Float[Array, "b m e"] | None = None,
        *,
        mask: Bool[Array, "#b #n m"] | None = None,
    ) -> Float[Array, "b n c"]:
        """Attends; each position of `x` looks at all of `context`, or of `x` where that is None."""
        channels = x.shape[-1]
        heads = (self.heads, width_of_head(channels, self.heads))
        x = x.astype(self.dtype)
        context = x if context is None else context.astype(self.dtype)
        q = nn.DenseGeneral(heads, dtype=self.dtype, name="query")(x)
        k = nn.DenseGeneral(heads, dtype=self.dtype, name="key")(context)
        v = nn.DenseGeneral(heads, dtype=self.dtype, name="value")(context)
        out = nn.DenseGeneral(channels, axis=(-2, -1), dtype=self.dtype, kernel_init=self.out_init, name="out")
        return out(attend(q, k, v, mask))
