"""Encoders whose maps are those of a convolutional network that is known from classification."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Encoder(nn.Module):
    """Images to the last maps of a trunk, as one vector.

    Fields:
      trunk: a network with a method `maps`, images to maps of several sizes, the last of which are its output, such as those of
        `models.cnn`.
      mean: whether the vector is the mean over all places; otherwise it has the numbers of all places.
      dtype: the dtype of the vector.
    """

    trunk: nn.Module
    mean: bool = False
    dtype: Any = jnp.float32

    def maps(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The maps of the trunk."""
        return self.trunk.maps(x, train=train)

    def vector(self, last: Float[Array, "b h w o"]) -> Float[Array, "b f"]:
        """The vector of the last maps."""
        return (last.mean((1, 2)) if self.mean else last.reshape(last.shape[0], -1)).astype(self.dtype)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b f"]:
        """Encodes `[B, H, W, C]` to `[B, F]`."""
        return self.vector(self.maps(x, train=train)[-1])
