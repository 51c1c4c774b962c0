"""The k-sparse autoencoder."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


def largest(z: Float[Array, "b m"], k: int | Int[Array, ""], most: int | None = None) -> Float[Array, "b m"]:
    r"""Keeps the k largest numbers of each row, and sets the others to zero.

    The largest, not the largest in magnitude. Of equal ones the first are kept, so that there are k. The gradient passes
    through those that are kept alone.

    Args:
      z: activations.
      k: the number of units to keep; it may be traced.
      most: a bound on k, needed where k is traced: `most` units are sorted and k of these kept. None means k.

    Returns:
      The rows, m - k numbers of each zero.

    Source: Makhzani & Frey 2013, section 2.1.

    >>> largest(jnp.array([[3.0, -5.0, 1.0, 2.0]]), 2).tolist()
    [[3.0, 0.0, 0.0, 2.0]]
    """
    count = min(int(k) if most is None else most, z.shape[1])
    values, places = lax.top_k(z, count)
    kept = jnp.where(jnp.arange(count) < k, values, jnp.zeros_like(values))
    return jnp.zeros_like(z).at[jnp.arange(z.shape[0])[:, None], places].set(kept)


class SparseAutoencoder(nn.Module):
    r"""Linear units of which the k most active remain, $\hat x = W\, \mathrm{supp}_k(W^\top x + b) + b'$.

    Source: Makhzani & Frey 2013, section 2.1. The weights of the decoder are those of the encoder; they start from a normal of
    standard deviation 0.01.

    Fields:
      shape: the shape (H, W, C) of the images.
      latents: the number of units m.
      dtype: the dtype of the computation; the parameters, the choice of the units and the output are float32.
    """

    shape: tuple[int, int, int]
    latents: int = 1000
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the tied weights and the two biases."""
        pixels = math.prod(self.shape)
        self.kernel = self.param("kernel", nn.initializers.normal(0.01), (pixels, self.latents))
        self.bias = self.param("bias", nn.initializers.zeros_init(), (self.latents,))
        self.visible_bias = self.param("visible_bias", nn.initializers.zeros_init(), (pixels,))

    def encode(
        self, x: Float[Array, "b h w c"], k: int | Int[Array, ""], most: int | None = None, *, train: bool = False
    ) -> Float[Array, "b m"]:
        """The k largest activations, zeros elsewhere; `most` as in `largest`."""
        flat = x.reshape(x.shape[0], -1).astype(self.dtype)
        return largest((flat @ self.kernel.astype(self.dtype)).astype(jnp.float32) + self.bias, k, most)

    def decode(self, z: Float[Array, "b m"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """The image of a code."""
        flat = (z.astype(self.dtype) @ self.kernel.T.astype(self.dtype)).astype(jnp.float32) + self.visible_bias
        return flat.reshape(-1, *self.shape)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """The image of all units together; what `init` traces."""
        return self.decode(self.encode(x, self.latents))
