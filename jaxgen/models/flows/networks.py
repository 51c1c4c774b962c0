"""The networks of couplings, `(x, outputs, train=...) -> (shift, log_scale)`, and the densities that Glow's latents have."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.models.flows.actnorm import LOG_SCALE_FACTOR, ActNorm
from jaxgen.models.flows.flow import over_event
from jaxgen.nn import BatchNorm, Conv, WeightNorm

Affine = tuple[Float[Array, "b h w o"], Float[Array, "b h w o"]]
"""A shift and the logarithm of a scale."""


class ResNet(nn.Module):
    r"""RealNVP's network: residual blocks of which every one, and the first convolution, has its own way to the output.

    The input and its negative go through a rectifier, so that no sign is lost. $s = a \tanh(\cdot)$ with a learned factor a for
    each output. With a checkerboard the factor starts at 0, so that nothing is scaled at first, and otherwise at 1.

    Source: Dinh et al. 2017, section 3.4 and 4.1, and the authors' code (tensorflow/models, research/real_nvp).

    Fields:
      width: channels of the feature maps.
      blocks: the number of residual blocks.
    """

    width: int = 32
    blocks: int = 2

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], outputs: int, *, mask: Array | None = None, train: bool = False) -> Affine:
        """The shift and the logarithm of the scale."""

        def conv(features: int, side: int, use_bias: bool = True) -> Any:
            return WeightNorm(Conv(features, (side, side), use_bias=use_bias, dtype=x.dtype))

        def norm(h: Array) -> Array:
            return BatchNorm(epsilon=1e-4, affine=False, dtype=x.dtype)(h, train=train)

        h = norm(x)
        parts = [h, -h]
        if mask is not None:
            # Half of the entries are 0, and twice the others keeps the mean of what a convolution sees.
            parts = [2 * h, -2 * h, jnp.broadcast_to(mask, (*x.shape[:-1], 1))]
        h = conv(self.width, 3)(nn.relu(jnp.concatenate(parts, axis=-1)))
        out = conv(self.width, 1)(h)
        for _ in range(self.blocks):
            inner = conv(self.width, 3, use_bias=False)(nn.relu(norm(h)))
            h = h + conv(self.width, 3)(nn.relu(norm(inner)))
            out = out + conv(self.width, 1)(h)
        shift, raw = jnp.split(conv(2 * outputs, 1)(nn.relu(norm(out))), 2, axis=-1)
        first = nn.initializers.ones_init() if mask is None else nn.initializers.zeros_init()
        return shift, self.param("scale", first, (outputs,), jnp.float32).astype(x.dtype) * jnp.tanh(raw)


class ConvNet(nn.Module):
    r"""Glow's network: 3x3, 1x1 and 3x3 convolutions, the last of which starts at zero.

    The scale is $\sigma(h + 2)$, at first 0.88; shift and scale are the even and the odd outputs.

    Source: Kingma & Dhariwal 2018, section 3.3; the authors' code (openai/glow, model.py, `f` and `revnet2d_step`).

    Fields:
      width: channels of the feature maps.
      additive: whether nothing is scaled, as in NICE.
    """

    width: int = 512
    additive: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], outputs: int, *, train: bool = False) -> Affine:
        """The shift and the logarithm of the scale."""
        first = nn.initializers.normal(0.05)
        h = Conv(self.width, (3, 3), padding="VALID", use_bias=False, kernel_init=first, dtype=x.dtype)(_edged(x))
        h = nn.relu(ActNorm()(h)[0])
        h = Conv(self.width, (1, 1), use_bias=False, kernel_init=first, dtype=x.dtype)(h)
        h = nn.relu(ActNorm()(h)[0])
        if self.additive:
            shift = _ZeroConv(outputs)(h)
            return shift, jnp.zeros_like(shift)
        h = _ZeroConv(2 * outputs)(h)
        return h[..., 0::2], jax.nn.log_sigmoid(h[..., 1::2] + 2)


class SplitPrior(nn.Module):
    r"""The density of latents that leave, given those that stay: $N(\mu(x), e^{2 \lambda(x)})$.

    As the network of a coupling it makes standard normal latents of them, $z = (x_2 - \mu) e^{-\lambda}$.

    Source: the authors' code (openai/glow, model.py, `split2d_prior`).
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], outputs: int, *, train: bool = False) -> Affine:
        """The shift and the logarithm of the scale."""
        h = _ZeroConv(2 * outputs)(x)
        return -h[..., 0::2], -h[..., 1::2]


class LearnedPrior(nn.Module):
    r"""The density of the latents of the last level, $N(\mu, e^{2 \lambda})$, learned: the flow $z = (x - \mu) e^{-\lambda}$.

    Mean and deviation are a zero-initialised convolution's of a map of zeros: they have one value for a channel, but for the
    pixels at the border. Source: the authors' code (openai/glow, model.py, `prior` with `learntop`).
    """

    @nn.compact
    def _moments(self, x: Float[Array, "b h w c"]) -> tuple[Array, Array]:
        h = _ZeroConv(2 * x.shape[-1])(jnp.zeros_like(x[:1]))
        return h[..., : x.shape[-1]], h[..., x.shape[-1] :]

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """Standard normal latents."""
        mean, log_std = self._moments(x)
        return (x - mean) * jnp.exp(-log_std), jnp.broadcast_to(-over_event(log_std), x.shape[:1])

    def inverse(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Latents of the learned density."""
        mean, log_std = self._moments(z)
        return z * jnp.exp(log_std) + mean


class _ZeroConv(nn.Module):
    """A 3x3 convolution that starts at zero, times exp(3 s) for each output."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        zeros = nn.initializers.zeros_init()
        h = Conv(self.features, (3, 3), padding="VALID", kernel_init=zeros, dtype=x.dtype)(_edged(x))
        return h * jnp.exp(LOG_SCALE_FACTOR * self.param("log_scale", zeros, (self.features,), jnp.float32)).astype(x.dtype)


def _edged(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c1"]:
    """Images with a border of one pixel of zeros, and one channel more that is 1 in the border: a kernel sees where it ends."""
    border = jnp.pad(jnp.zeros((*x.shape[:-1], 1), x.dtype), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
    return jnp.concatenate([jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), border], axis=-1)
