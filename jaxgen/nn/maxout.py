"""Maxout layers."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Maxout(nn.Module):
    r"""A dense layer of which each unit is the largest of k affine pieces, $h_i = \max_j x^T W_{ij} + b_{ij}$.

    Source: Goodfellow et al. 2013, section 3.

    Fields:
      features: the number of units.
      pieces: the number of pieces k.
      kernel_init: the initializer of the pieces' kernels.
      dtype: the dtype of the computation; the parameters are float32.
    """

    features: int
    pieces: int = 5
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*shape c"]) -> Float[Array, "*shape o"]:
        """Maps the last axis."""
        y = nn.Dense(self.features * self.pieces, kernel_init=self.kernel_init, dtype=self.dtype)(x)
        return y.reshape(*x.shape[:-1], self.features, self.pieces).max(-1)
