"""Conditional normalisations: their condition is a time, a noise level, a class, a style or a map of labels.

All but `SpatiallyAdaptiveNorm` are called as `norm(x [B, H, W, C], condition [B, F])`, so that a network takes one of them as a
field.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn.conv import Conv
from jaxgen.nn.interpolation import nearest_pixels
from jaxgen.nn.norm import GroupNorm, adaptive_instance_norm


class AdditiveGroupNorm(nn.Module):
    """Group normalisation after a shift that is linear in the condition. Source: Ho et al. 2020, appendix B.

    Fields:
      dtype: the dtype of the computation; the parameters are float32.
      groups: the most groups of channels, as in `GroupNorm`.
      epsilon: the number that is added to the variances.
      kernel_init: the initializer of the kernel that the condition is multiplied by.
      use_bias: whether the shift has a bias; after a convolution, which has one, it adds nothing.
    """

    dtype: Any = jnp.float32
    groups: int | None = None
    epsilon: float = 1e-6
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], condition: Float[Array, "b f"]) -> Float[Array, "b h w c"]:
        """Adds, then normalises."""
        dense = nn.Dense(x.shape[-1], use_bias=self.use_bias, kernel_init=self.kernel_init, dtype=self.dtype)
        shift = dense(condition)
        return GroupNorm(self.groups, epsilon=self.epsilon, dtype=self.dtype)(x + shift[:, None, None])


class AdaptiveGroupNorm(nn.Module):
    r"""$(1 + y_s)\, \mathrm{GroupNorm}(x) + y_b$ with $y_s, y_b$ linear in the condition.

    Source: Dhariwal & Nichol 2021, section 3.1.

    Fields:
      dtype: the dtype of the computation; the parameters are float32.
      groups: the most groups of channels, as in `GroupNorm`.
      epsilon: the number that is added to the variances.
      kernel_init: the initializer of the kernel that the condition is multiplied by.
    """

    dtype: Any = jnp.float32
    groups: int | None = None
    epsilon: float = 1e-6
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], condition: Float[Array, "b f"]) -> Float[Array, "b h w c"]:
        """Normalises, then scales and shifts."""
        dense = nn.Dense(2 * x.shape[-1], kernel_init=self.kernel_init, dtype=self.dtype)
        scale, shift = jnp.split(dense(condition)[:, None, None], 2, axis=-1)
        return GroupNorm(self.groups, epsilon=self.epsilon, dtype=self.dtype)(x) * (1 + scale) + shift


class AdaptiveInstanceNorm(nn.Module):
    r"""$(1 + y_s)\, \mathrm{InstanceNorm}(x) + y_b$ with $y_s, y_b$ linear in the condition.

    Source: Huang & Belongie 2017, equation 8; with 1 + y as StyleGAN has it: Karras et al. 2019, section 2.

    Fields:
      epsilon: the number that is added to the variances.
      dtype: the dtype of the computation; the parameters are float32.
    """

    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], condition: Float[Array, "b f"]) -> Float[Array, "b h w c"]:
        """Normalises, then scales and shifts."""
        scale, shift = jnp.split(nn.Dense(2 * x.shape[-1], dtype=self.dtype)(condition)[:, None, None], 2, axis=-1)
        return adaptive_instance_norm(x, 1 + scale, shift, epsilon=self.epsilon).astype(self.dtype)


class SpatiallyAdaptiveNorm(nn.Module):
    r"""$(1 + \gamma(m))\, \mathrm{norm}(x) + \beta(m)$ with maps gamma and beta that convolutions make of a map m ("SPADE").

    Source: Park et al. 2019, equation 1 and figure 2; 1 + gamma is from the authors' code.

    Fields:
      norm: the normalisation, without parameters of its own: `InstanceNorm()`, or, as in the paper,
        `lambda x: BatchNorm(affine=False)(x, train=train)`.
      hidden: channels of the layer that gamma and beta share.
      kernel_size: height and width of the kernels.
      dtype: the dtype of the computation; the parameters are float32.
      kernel_init: the initializer of the kernels.
    """

    norm: Callable[[Array], Array]
    hidden: int = 128
    kernel_size: tuple[int, int] = (3, 3)
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], m: Float[Array, "b h2 w2 s"]) -> Float[Array, "b h w c"]:
        """Normalises, then scales and shifts each pixel. The map m takes the size of x by its nearest pixels."""
        h = jax.nn.relu(self._conv(self.hidden, "shared")(nearest_pixels(m, (x.shape[1], x.shape[2]))))
        gamma, beta = (self._conv(x.shape[-1], name)(h) for name in ("gamma", "beta"))
        return self.norm(x).astype(self.dtype) * (1 + gamma) + beta

    @nn.nowrap
    def _conv(self, channels: int, name: str) -> Conv:
        return Conv(channels, self.kernel_size, kernel_init=self.kernel_init, dtype=self.dtype, name=name)


class ConditionalInstanceNorm(nn.Module):
    r"""Conditional instance normalisation that keeps the channels' means, "CondInstanceNorm++".

    $\gamma_k \frac{x_k - \mu_k}{s_k} + \beta_k + a_k \frac{\mu_k - m}{v}$ for channel k, where $\mu_k, s_k$ are its mean and
    standard deviation over the pixels of an example, and m, v those of the means over the channels. $\gamma, \beta$ and a are
    linear in the condition, where the paper has a table of them by noise level.

    Source: Song & Ermon 2019, appendix A.1.

    Fields:
      epsilon: the number that is added to the variances.
      dtype: the dtype of the computation; the parameters are float32.
      kernel_init: the initializer of the kernel that the condition is multiplied by.
    """

    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], condition: Float[Array, "b f"]) -> Float[Array, "b h w c"]:
        """Normalises each channel of each example, and puts its mean back."""
        modulation = nn.Dense(3 * x.shape[-1], kernel_init=self.kernel_init, dtype=self.dtype)(condition).astype(jnp.float32)
        scale, shift, share = jnp.split(modulation[:, None, None], 3, axis=-1)
        x = x.astype(jnp.float32)
        mean = x.mean((1, 2), keepdims=True)
        spread = x.var((1, 2), keepdims=True)
        means = (mean - mean.mean(-1, keepdims=True)) / jnp.sqrt(mean.var(-1, keepdims=True) + self.epsilon)
        y = (1 + scale) * (x - mean) / jnp.sqrt(spread + self.epsilon) + shift + (1 + share) * means
        return y.astype(self.dtype)
