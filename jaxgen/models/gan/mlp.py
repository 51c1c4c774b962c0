"""Fully connected generators and discriminators, of images or of points."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn import Maxout


def symmetric(limit: float) -> nn.initializers.Initializer:
    """Uniform in [-limit, limit]: what the code of Goodfellow et al. 2014 starts from."""

    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


class Generator(nn.Module):
    """Codes to examples: rectified layers, then the output's own nonlinearity.

    Source: Goodfellow et al. 2014, section 5; the widths are those of its MNIST experiment.

    Fields:
      shape: the shape of an example, such as (H, W, C) of an image or (2,) of a point.
      hidden: widths of the layers.
      activation: the activation function after each layer.
      output: a function that brings the result to the data's range: a sigmoid for pixels in [0, 1], the identity for points.
      kernel_init: the initializer of all kernels.
      bias_init: the initial value of the output's bias, `[prod(shape)]`: with the logits of the mean image, samples start from
        that image.
      dtype: the dtype of the computation; the parameters are float32.
    """

    shape: tuple[int, ...]
    hidden: tuple[int, ...] = (1200, 1200)
    activation: Callable[[Array], Array] = nn.relu
    output: Callable[[Array], Array] = nn.sigmoid
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b l"], *, train: bool = False) -> Float[Array, "b *shape"]:
        """Generates a batch, in float32."""
        h = z
        for width in self.hidden:
            h = self.activation(nn.Dense(width, kernel_init=self.kernel_init, dtype=self.dtype)(h))
        out = math.prod(self.shape)
        h = nn.Dense(out, kernel_init=self.kernel_init, bias_init=self.bias_init, dtype=self.dtype)(h)
        return self.output(h.astype(jnp.float32)).reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """Examples to logits, each by itself: also a critic for a gradient penalty.

    Fields:
      hidden: widths of the layers.
      activation: the activation function after each layer.
      kernel_init: the initializer of all kernels.
      dtype: the dtype of the computation; the parameters are float32.
    """

    hidden: tuple[int, ...] = (512, 512)
    activation: Callable[[Array], Array] = nn.leaky_relu
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape"], *, train: bool = False) -> Float[Array, " b"]:
        """Judges a batch."""
        h = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            h = self.activation(nn.Dense(width, kernel_init=self.kernel_init, dtype=self.dtype)(h))
        return nn.Dense(1, kernel_init=self.kernel_init, dtype=self.dtype)(h)[:, 0].astype(jnp.float32)


class MaxoutDiscriminator(nn.Module):
    """Examples to logits by maxout layers with dropout of their inputs, the pixels as well.

    Source: Goodfellow et al. 2014, section 5; the numbers are those of its MNIST experiment.

    Fields:
      units: the numbers of units of the maxout layers.
      pieces: the number of pieces of each unit.
      dropout: the dropout rates of the pixels and of the units.
      kernel_init: the initializer of all kernels.
      dtype: the dtype of the computation; the parameters are float32.
    """

    units: tuple[int, ...] = (240, 240)
    pieces: int = 5
    dropout: tuple[float, float] = (0.2, 0.5)
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape"], *, train: bool = False) -> Float[Array, " b"]:
        """Judges a batch."""
        of_pixels, of_units = self.dropout
        h = nn.Dropout(of_pixels, deterministic=not train)(x.reshape(x.shape[0], -1))
        for units in self.units:
            h = Maxout(units, self.pieces, kernel_init=self.kernel_init, dtype=self.dtype)(h)
            h = nn.Dropout(of_units, deterministic=not train)(h)
        return nn.Dense(1, kernel_init=self.kernel_init, dtype=self.dtype)(h)[:, 0].astype(jnp.float32)
