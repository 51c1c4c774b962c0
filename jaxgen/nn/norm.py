"""Normalisation layers, computed in float32."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import replicas


class BatchNorm(nn.Module):
    r"""Batch normalisation over the global batch, $(x - \mu) / \sqrt{\sigma^2 + \epsilon}\, \gamma + \beta$.

    In training with the statistics of the batch, of all replicas under `pmap`; else with their running averages, the
    collection `batch_stats`. Source: Ioffe & Szegedy 2015.

    Fields:
      momentum: decay of the running averages.
      epsilon: added to the variance.
      scale_init: of gamma.
      dtype: of the result.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape c"], *, train: bool) -> Float[Array, "b *shape c"]:
        """Normalises the last axis' channels over all others."""
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            scale_init=self.scale_init,
            axis_name=replicas.AXIS if replicas.named() else None,
        )
        return norm(x.astype(jnp.float32)).astype(self.dtype)


class GroupNorm(nn.Module):
    """Group normalisation, each example by itself. Source: Wu & He 2018.

    Fields:
      groups: at most; as many as divide the channels.
      affine: learns a scale and a bias.
      dtype: of the result.
    """

    groups: int = 32
    affine: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape c"]) -> Float[Array, "b *shape c"]:
        """Normalises each example's groups of channels."""
        # In float32 by our own cast: Flax's promotion of half precision is refused where dtype promotion is strict.
        norm = nn.GroupNorm(math.gcd(x.shape[-1], self.groups), use_scale=self.affine, use_bias=self.affine)
        return norm(x.astype(jnp.float32)).astype(self.dtype)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis. Source: Ba et al. 2016.

    Fields:
      dtype: of the result.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*shape c"]) -> Float[Array, "*shape c"]:
        """Normalises each vector."""
        # Deviations are squared, not squares subtracted: a vector has few numbers, and some vectors hardly vary.
        return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False)(x.astype(jnp.float32)).astype(self.dtype)
