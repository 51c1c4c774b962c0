"""Normalisation layers, computed in float32.

All take the variance as the mean of squared deviations. The difference of the mean square and the squared mean, which takes one
pass less, cancels in float32 where the mean is large beside the deviations.
"""

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
      epsilon: the number that is added to the variance.
      scale_init: the initializer of gamma.
      dtype: the dtype of the result.
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
            use_fast_variance=False,
        )
        return norm(x.astype(jnp.float32)).astype(self.dtype)


class GroupNorm(nn.Module):
    """Group normalisation, each example by itself. Source: Wu & He 2018.

    Fields:
      groups: the most groups that the channels are cut into; the number used is the largest that divides the channels. None is
        32, but four channels to a group or more, as in Ho et al. 2020: `min(32, C // 4)` for C channels, and at least one. A
        group of one channel would take out each map's mean, and with it any shift that a condition has put there.
      affine: whether it learns a scale and a bias.
      dtype: the dtype of the result.
    """

    groups: int | None = None
    affine: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape c"]) -> Float[Array, "b *shape c"]:
        """Normalises each example's groups of channels."""
        channels = x.shape[-1]
        most = max(min(32, channels // 4), 1) if self.groups is None else self.groups
        groups = next(n for n in range(min(most, channels), 0, -1) if channels % n == 0)
        # In float32 by our own cast: Flax's promotion of half precision is refused where dtype promotion is strict.
        norm = nn.GroupNorm(groups, use_scale=self.affine, use_bias=self.affine, use_fast_variance=False)
        return norm(x.astype(jnp.float32)).astype(self.dtype)


class SpectralNorm(nn.SpectralNorm):
    r"""Divides a layer's kernel by its largest singular value, $W / \sigma(W)$, which is followed by a power iteration a call.

    `SpectralNorm(layer)(x, update_stats=train)`. The iteration starts from the singular vector of the initial kernel, as it is
    found by a singular value decomposition. From a random vector, where Flax starts, the first value of sigma would be 15 to
    35 % too small, and the layer by as much too steep. Source: Miyato et al. 2018, algorithm 1.

    Fields:
      layer_instance: the layer.
    """

    def __call__(self, *args: Any, update_stats: bool, **kwargs: Any) -> Any:
        """Calls the layer with the normalised kernel."""
        out = super().__call__(*args, update_stats=update_stats, **kwargs)
        if self.is_initializing():
            kernel = self.layer_instance.variables["params"]["kernel"]
            _, sigma, right = jnp.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), full_matrices=False)
            self.put_variable(self.collection_name, f"{self.layer_instance.name}/kernel/u", right[:1])
            self.put_variable(self.collection_name, f"{self.layer_instance.name}/kernel/sigma", sigma[0])
        return out


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis. Source: Ba et al. 2016.

    Fields:
      dtype: the dtype of the result.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*shape c"]) -> Float[Array, "*shape c"]:
        """Normalises each vector."""
        return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False)(x.astype(jnp.float32)).astype(self.dtype)
