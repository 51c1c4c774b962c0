"""Residual blocks."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn.conditioning import AdditiveGroupNorm
from jaxgen.nn.conv import Conv
from jaxgen.nn.norm import GroupNorm
from jaxgen.nn.resampling import BOX, Taps, doubled, halved


class ResidualBlock(nn.Module):
    r"""Pre-activation block, $x + f(x)$ with f = (normalise, activate, 3x3 convolution) twice.

    The second convolution starts at zero, so that a block starts as its shortcut. Group normalisation, because it treats
    training and evaluation alike. Source: He et al. 2016 (identity mappings), figure 4e; Wu & He 2018.

    Fields:
      features: output channels.
      resize: the change of the side: 2 doubles the side (nearest neighbour), 1 keeps it, -2 halves it (average).
      dtype: the dtype of the computation; the parameters are float32.
      group_norm: a function that makes the normalisations.
    """

    features: int
    resize: int = 1
    dtype: Any = jnp.float32
    group_norm: Callable[..., nn.Module] = GroupNorm

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Maps a batch of feature maps."""
        y = self._resized(jax.nn.swish(self.group_norm(dtype=self.dtype)(x)))
        y = Conv(self.features, (3, 3), dtype=self.dtype)(y)
        y = jax.nn.swish(self.group_norm(dtype=self.dtype)(y))
        y = Conv(self.features, (3, 3), dtype=self.dtype, kernel_init=nn.initializers.zeros_init())(y)
        x = self._resized(x.astype(self.dtype))
        if x.shape[-1] != self.features:
            x = Conv(self.features, (1, 1), dtype=self.dtype)(x)
        return x + y

    def _resized(self, x: Array) -> Array:
        if self.resize == 1:
            return x
        if self.resize == 2:
            return x.repeat(2, axis=1).repeat(2, axis=2)
        b, h, w, c = x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
        return x[:, : 2 * h, : 2 * w].reshape(b, h, 2, w, 2, c).mean((2, 4))


class ConditionalResidualBlock(nn.Module):
    r"""Pre-activation block whose second normalisation has a condition, with dropout before its last convolution.

    $s\,(x + f(x))$ with a scale s. A block that resamples does so in both branches, in f after the first activation.

    Source: Ho et al. 2020, appendix B; the last convolution starts at zero there too. The scale and the blocks that resample:
    Song et al. 2021, appendix H.1; Dhariwal & Nichol 2021, section 3.

    Fields:
      features: output channels.
      norm: a function that makes the second normalisation, one of `nn.conditioning`.
      dropout: share of the activations that are dropped in training.
      dtype: the dtype of the computation; the parameters are float32.
      group_norm: a function that makes the first normalisation.
      conv: a function that makes a convolution.
      last_init: the initializer of the last convolution's kernel.
      resize: the change of the side: 2 doubles the side, 1 keeps it, -2 halves it.
      taps: the filter by which a block resamples.
      project: whether the shortcut has a 1x1 convolution; otherwise only where the number of channels changes.
      scale: the factor s of the sum.
    """

    features: int
    norm: Callable[..., nn.Module] = AdditiveGroupNorm
    dropout: float = 0.0
    dtype: Any = jnp.float32
    group_norm: Callable[..., nn.Module] = GroupNorm
    conv: Callable[..., nn.Module] = Conv
    last_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    resize: int = 1
    taps: Taps = BOX
    project: bool = False
    scale: float = 1.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], condition: Float[Array, "b f"], train: bool = False
    ) -> Float[Array, "b h2 w2 o"]:
        """Maps a batch of feature maps."""
        y = self._resized(jax.nn.swish(self.group_norm(dtype=self.dtype)(x)))
        y = self.conv(self.features, (3, 3), dtype=self.dtype)(y)
        y = jax.nn.swish(self.norm(dtype=self.dtype)(y, condition))
        if self.dropout:
            y = nn.Dropout(self.dropout)(y, deterministic=not train)
        y = self.conv(self.features, (3, 3), dtype=self.dtype, kernel_init=self.last_init)(y)
        x = self._resized(x.astype(self.dtype))
        if self.project or x.shape[-1] != self.features:
            x = self.conv(self.features, (1, 1), dtype=self.dtype)(x)
        return x + y if self.scale == 1 else (x + y) * self.scale

    def _resized(self, x: Array) -> Array:
        if self.resize == 1:
            return x
        return doubled(x, self.taps) if self.resize == 2 else halved(x, self.taps)
