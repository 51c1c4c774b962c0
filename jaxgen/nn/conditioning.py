"""Normalisations that are told something of each example: a time, a noise level, a class.

All are called as `norm(x [B, H, W, C], condition [B, F])`, so that a network takes one of them as a field.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn.norm import GroupNorm


class AdditiveGroupNorm(nn.Module):
    """Group normalisation after a shift that is linear in the condition. Source: Ho et al. 2020, appendix B.

    Fields:
      dtype: the dtype of the computation; the parameters are float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], condition: Float[Array, "b f"]) -> Float[Array, "b h w c"]:
        """Adds, then normalises."""
        shift = nn.Dense(x.shape[-1], dtype=self.dtype)(condition)
        return GroupNorm(dtype=self.dtype)(x + shift[:, None, None])


class AdaptiveGroupNorm(nn.Module):
    r"""$(1 + y_s)\, \mathrm{GroupNorm}(x) + y_b$ with $y_s, y_b$ linear in the condition.

    Source: Dhariwal & Nichol 2021, section 3.1.

    Fields:
      dtype: the dtype of the computation; the parameters are float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], condition: Float[Array, "b f"]) -> Float[Array, "b h w c"]:
        """Normalises, then scales and shifts."""
        scale, shift = jnp.split(nn.Dense(2 * x.shape[-1], dtype=self.dtype)(condition)[:, None, None], 2, axis=-1)
        return GroupNorm(dtype=self.dtype)(x) * (1 + scale) + shift


class ConditionalInstanceNorm(nn.Module):
    r"""Conditional instance normalisation that keeps the channels' means, "CondInstanceNorm++".

    $\gamma_k \frac{x_k - \mu_k}{s_k} + \beta_k + a_k \frac{\mu_k - m}{v}$ for channel k, where $\mu_k, s_k$ are its mean and
    standard deviation over the pixels of an example, and m, v those of the means over the channels. $\gamma, \beta$ and a are
    linear in the condition, where the paper has a table of them by noise level.

    Source: Song & Ermon 2019, appendix A.1.

    Fields:
      epsilon: the number that is added to the variances.
      dtype: the dtype of the computation; the parameters are float32.
    """

    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], condition: Float[Array, "b f"]) -> Float[Array, "b h w c"]:
        """Normalises each channel of each example, and puts its mean back."""
        modulation = nn.Dense(3 * x.shape[-1], dtype=self.dtype)(condition).astype(jnp.float32)
        scale, shift, share = jnp.split(modulation[:, None, None], 3, axis=-1)
        x = x.astype(jnp.float32)
        mean = x.mean((1, 2), keepdims=True)
        spread = x.var((1, 2), keepdims=True)
        means = (mean - mean.mean(-1, keepdims=True)) / jnp.sqrt(mean.var(-1, keepdims=True) + self.epsilon)
        y = (1 + scale) * (x - mean) / jnp.sqrt(spread + self.epsilon) + shift + (1 + share) * means
        return y.astype(self.dtype)
