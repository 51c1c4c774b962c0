"""Activation normalisation."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

LOG_SCALE_FACTOR = 3.0
"""Scales are exp(3 s) of a parameter s, so that they move three times as fast (the authors' `logscale_factor`)."""


class ActNorm(nn.Module):
    r"""An affine map of each channel, $z = (x + b) e^{3 s}$, that normalises the first batch.

    $b = -\mu$ and $e^{3 s} = 1 / (\sigma + 10^{-6})$ of the batch that the parameters are made from, over its examples and
    pixels; after that b and s are ordinary parameters. So the example inputs of its `Network` are a batch of data.

    Source: Kingma & Dhariwal 2018, section 3.1; the order of shift and scale, and the factor 3, are the authors'
    (openai/glow, tfops.py).
    """

    @nn.compact
    def _parameters(self, x: Float[Array, "b *shape c"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        """The shift b and the logarithm of the scale, 3 s."""
        axes = tuple(range(x.ndim - 1))
        batch = x.astype(jnp.float32)

        def first(key: Array) -> Array:
            std = jnp.sqrt(jnp.square(batch - batch.mean(axes)).mean(axes))
            return -jnp.log(std + 1e-6) / LOG_SCALE_FACTOR

        bias = self.param("bias", lambda key: -batch.mean(axes))
        log_scale = LOG_SCALE_FACTOR * self.param("log_scale", first)
        return bias.astype(x.dtype), log_scale.astype(x.dtype)

    def __call__(self, x: Float[Array, "b *shape c"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """Shifts and scales the last axis' channels."""
        bias, log_scale = self._parameters(x)
        log_det = math.prod(x.shape[1:-1]) * log_scale.sum()
        return (x + bias) * jnp.exp(log_scale), jnp.broadcast_to(log_det, x.shape[:1])

    def inverse(self, z: Float[Array, "b *shape c"]) -> Float[Array, "b *shape c"]:
        """Takes scale and shift back."""
        bias, log_scale = self._parameters(z)
        return z * jnp.exp(-log_scale) - bias
