"""The autoencoder of one layer of sigmoids whose decoder has the encoder's weights."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.distributions import Bernoulli, Normal


def symmetric_uniform(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    r"""Uniform weights within $\pm 4 \sqrt{6 / (n_\mathrm{in} + n_\mathrm{out})}$, for layers of sigmoids.

    Source: Glorot & Bengio 2010, by the factor of four for sigmoids as in the deep learning tutorials (`dA.py`).
    """
    limit = 4 * math.sqrt(6 / sum(shape))
    return jax.random.uniform(key, shape, dtype, -limit, limit)


class TiedAutoencoder(nn.Module):
    r"""Units $h = \sigma(W^\top x + b)$, and the pixels' probabilities $\hat x = \sigma(W h + b')$.

    A linear decoder has the means $\hat x = W h + b'$ of normal pixels of variance one, whose negative log-likelihood is half
    the squared error and a constant.

    Source: Vincent et al. 2008, section 2; Rifai et al. 2011, section 2; the linear decoder: Vincent et al. 2010.

    Fields:
      shape: the shape of the inputs without the batch: (H, W, C) of images, (n,) of the units of another layer.
      latents: the number of units.
      dtype: the dtype of the matrix products; the parameters and all else are float32.
      linear: whether the decoder is linear.
    """

    shape: tuple[int, ...]
    latents: int = 500
    dtype: Any = jnp.float32
    linear: bool = False

    def setup(self) -> None:
        """Makes the tied weights and the two biases."""
        pixels = math.prod(self.shape)
        self.kernel = self.param("kernel", symmetric_uniform, (pixels, self.latents))
        self.bias = self.param("bias", nn.initializers.zeros_init(), (self.latents,))
        self.visible_bias = self.param("visible_bias", nn.initializers.zeros_init(), (pixels,))

    def encode(self, x: Float[Array, "b ..."], *, train: bool = False) -> Float[Array, "b m"]:
        """The units of inputs, each in (0, 1)."""
        flat = x.reshape(x.shape[0], -1).astype(self.dtype)
        return nn.sigmoid((flat @ self.kernel.astype(self.dtype)).astype(jnp.float32) + self.bias)

    def decode(self, z: Float[Array, "b m"], *, train: bool = False) -> Bernoulli | Normal:
        """The distribution of the input that the units stand for."""
        flat = (z.astype(self.dtype) @ self.kernel.T.astype(self.dtype)).astype(jnp.float32) + self.visible_bias
        shaped = flat.reshape(-1, *self.shape)
        return Normal(shaped) if self.linear else Bernoulli(shaped)

    def squared_jacobian(self, x: Float[Array, "b ..."], *, train: bool = False) -> Float[Array, " b"]:
        r"""$\|J_h(x)\|_F^2 = \sum_j (h_j (1 - h_j))^2 \sum_i W_{ij}^2$, exactly. Source: Rifai et al. 2011, equation 7."""
        h = self.encode(x)
        return ((h * (1 - h)) ** 2) @ (self.kernel**2).sum(0)

    def __call__(self, x: Float[Array, "b ..."], *, train: bool = False) -> Bernoulli | Normal:
        """The distribution of an input by its own units."""
        return self.decode(self.encode(x))
