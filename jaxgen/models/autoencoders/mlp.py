"""Fully connected encoder and decoder (Hinton & Salakhutdinov 2006; Burda et al. 2015, section 5)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

GLOROT = nn.initializers.glorot_uniform()


class Encoder(nn.Module):
    """Images to features.

    Fields:
      hidden: widths of the layers.
      activation: the activation function after each layer.
      dtype: the dtype of the computation; the parameters are float32.
    """

    hidden: tuple[int, ...] = (200, 200)
    activation: Callable[[Array], Array] = nn.tanh
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b f"]:
        """Encodes `[B, H, W, C]` to `[B, hidden[-1]]`."""
        h = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            h = self.activation(nn.Dense(width, kernel_init=GLOROT, dtype=self.dtype)(h))
        return h


class Decoder(nn.Module):
    """Codes to images.

    Fields:
      shape: the shape (H, W, C) of the output.
      hidden: widths of the layers.
      activation: the activation function after each layer.
      bias_init: the initial bias of the output, such as the logits of the training data's mean; `[H * W * C]`.
      dtype: the dtype of the computation; the parameters are float32.
    """

    shape: tuple[int, int, int]
    hidden: tuple[int, ...] = (200, 200)
    activation: Callable[[Array], Array] = nn.tanh
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b l"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """Decodes `[B, L]` to `[B, H, W, C]`."""
        h = z
        for width in self.hidden:
            h = self.activation(nn.Dense(width, kernel_init=GLOROT, dtype=self.dtype)(h))
        h = nn.Dense(
            self.shape[0] * self.shape[1] * self.shape[2],
            kernel_init=GLOROT,
            bias_init=self.bias_init,
            dtype=self.dtype,
        )(h)
        return h.reshape(-1, *self.shape)
