"""Normalisation layers, computed in float32.

All take the variance as the mean of squared deviations. The difference of the mean square and the squared mean, which takes one
pass less, cancels in float32 where the mean is large against the deviations.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.devices import collectives


class BatchNorm(nn.Module):
    r"""Batch normalisation over the global batch, $(x - \mu) / \sqrt{\sigma^2 + \epsilon}\, \gamma + \beta$.

    In training with the statistics of the batch, of all replicas under `pmap`; else with their running averages, the
    collection `batch_stats`. Source: Ioffe & Szegedy 2015.

    Fields:
      momentum: decay of the running averages.
      epsilon: the number that is added to the variance.
      affine: whether it learns gamma and beta.
      scale_init: the initializer of gamma.
      dtype: the dtype of the result.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    affine: bool = True
    scale_init: nn.initializers.Initializer = nn.initializers.ones_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape c"], *, train: bool) -> Float[Array, "b *shape c"]:
        """Normalises the last axis' channels over all others."""
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            use_scale=self.affine,
            use_bias=self.affine,
            scale_init=self.scale_init,
            axis_name=collectives.AXIS if collectives.named() else None,
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
      epsilon: the number that is added to the variances.
      dtype: the dtype of the result.
    """

    groups: int | None = None
    affine: bool = True
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape c"]) -> Float[Array, "b *shape c"]:
        """Normalises each example's groups of channels."""
        channels = x.shape[-1]
        most = max(min(32, channels // 4), 1) if self.groups is None else self.groups
        groups = next(n for n in range(min(most, channels), 0, -1) if channels % n == 0)
        # In float32 by our own cast: Flax's promotion of half precision is refused where dtype promotion is strict.
        norm = nn.GroupNorm(groups, epsilon=self.epsilon, use_scale=self.affine, use_bias=self.affine, use_fast_variance=False)
        return norm(x.astype(jnp.float32)).astype(self.dtype)


class SpectralNorm(nn.SpectralNorm):
    r"""Divides a layer's kernel by its largest singular value, $W / \sigma(W)$, which one power iteration per call tracks.

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
      epsilon: the number that is added to the variance.
      affine: whether it learns a scale and a bias.
      dtype: the dtype of the result.
    """

    epsilon: float = 1e-5
    affine: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*shape c"]) -> Float[Array, "*shape c"]:
        """Normalises each vector."""
        norm = nn.LayerNorm(epsilon=self.epsilon, use_scale=self.affine, use_bias=self.affine, use_fast_variance=False)
        return norm(x.astype(jnp.float32)).astype(self.dtype)


class InstanceNorm(nn.Module):
    r"""Instance normalisation, $(x - \mu) / \sqrt{\sigma^2 + \epsilon}$ for each example and channel over its pixels.

    A map of one pixel becomes zero. Source: Ulyanov et al. 2016.

    Fields:
      epsilon: the number that is added to the variances.
      affine: whether it learns a scale and a bias for each channel.
      dtype: the dtype of the result.
    """

    epsilon: float = 1e-5
    affine: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape c"]) -> Float[Array, "b *shape c"]:
        """Normalises each channel of each example."""
        mean, std = channel_moments(x, self.epsilon)
        y = (x.astype(jnp.float32) - mean) / std
        if self.affine:
            scale = self.param("scale", nn.initializers.ones_init(), x.shape[-1:], jnp.float32)
            y = y * scale + self.param("bias", nn.initializers.zeros_init(), x.shape[-1:], jnp.float32)
        return y.astype(self.dtype)


class ImageNorm(nn.Module):
    r"""Layer normalisation of whole images, $(x - \mu) / (s + \epsilon)\, \gamma + \beta$ over pixels and channels.

    s is the deviation whose square is divided by n - 1, for n numbers, and epsilon is added to s itself. There is one gamma and
    one beta for each channel. Unlike instance normalisation it keeps how channels differ, and so what a style has put there.

    Source: Huang et al. 2018, appendix B.2; the formula and the start of gamma, evenly from 0 to 1, are the authors' code's
    (github.com/NVlabs/MUNIT).

    Fields:
      epsilon: the number that is added to the deviation.
      scale_init: the initializer of gamma.
      dtype: the dtype of the result.
    """

    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.uniform(1.0)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape c"]) -> Float[Array, "b *shape c"]:
        """Normalises each example."""
        x, whole = x.astype(jnp.float32), tuple(range(1, x.ndim))
        centred = x - x.mean(whole, keepdims=True)
        variance = jnp.square(centred).sum(whole, keepdims=True) / max(math.prod(x.shape[1:]) - 1, 1)
        # The root of zero has no slope: a constant image would make it infinite, and the gradient no number.
        y = centred / (jnp.sqrt(jnp.maximum(variance, 1e-30)) + self.epsilon)
        scale = self.param("scale", self.scale_init, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), x.shape[-1:], jnp.float32)
        return (y * scale + bias).astype(self.dtype)


class RMSNorm(nn.Module):
    r"""Root mean square normalisation, $x / \sqrt{\overline{x^2} + \epsilon}\, \gamma$, over the last axis and without a mean.

    Source: Zhang & Sennrich 2019, equation 4.

    Fields:
      epsilon: the number that is added to the mean square.
      affine: whether it learns the scale gamma.
      dtype: the dtype of the result.
    """

    epsilon: float = 1e-6
    affine: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*shape c"]) -> Float[Array, "*shape c"]:
        """Normalises each vector."""
        x = x.astype(jnp.float32)
        y = x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + self.epsilon)
        if self.affine:
            y = y * self.param("scale", nn.initializers.ones_init(), x.shape[-1:], jnp.float32)
        return y.astype(self.dtype)


PixelNorm = functools.partial(RMSNorm, epsilon=1e-8, affine=False)
"""The normalisation of each pixel's vector of channels by its root mean square. Source: Karras et al. 2018, section 4.2."""


def channel_moments(
    x: Float[Array, "b *shape c"], epsilon: float = 1e-5
) -> tuple[Float[Array, "b *ones c"], Float[Array, "b *ones c"]]:
    r"""The mean and the standard deviation $\sqrt{\sigma^2 + \epsilon}$ of each example's channels over their pixels.

    Args:
      x: the maps.
      epsilon: the number that is added to the variances, the means of squared deviations.

    Returns:
      Both in float32, with one pixel.
    """
    x = x.astype(jnp.float32)
    pixels = tuple(range(1, x.ndim - 1))
    mean = x.mean(pixels, keepdims=True)
    return mean, jnp.sqrt(jnp.square(x - mean).mean(pixels, keepdims=True) + epsilon)


def adaptive_instance_norm(
    x: Float[Array, "b h w c"],
    scale: Float[Array, "b 1 1 c"],
    shift: Float[Array, "b 1 1 c"],
    *,
    epsilon: float = 1e-5,
) -> Float[Array, "b h w c"]:
    r"""Instance normalisation with a scale and a shift for each example, $\gamma (x - \mu) / \sigma + \beta$ ("AdaIN").

    For the transfer of a style they are the moments of the style's maps. Where a network makes them, scale is what it means by
    it: MUNIT's standard deviation as it is, StyleGAN's 1 + y (`AdaptiveInstanceNorm`).

    Args:
      x: the maps, of the content.
      scale: the new standard deviations.
      shift: the new means.
      epsilon: the number that is added to the variances.

    Returns:
      The maps, in the dtype of x; computed in float32.

    Source: Huang & Belongie 2017, equation 8.

    >>> content, style = jnp.arange(4.0).reshape(1, 2, 2, 1), 7.0 * jnp.ones((1, 3, 3, 1))
    >>> mean, std = channel_moments(style, epsilon=0.0)
    >>> adaptive_instance_norm(content, std, mean)[0, :, :, 0].tolist()
    [[7.0, 7.0], [7.0, 7.0]]
    """
    mean, std = channel_moments(x, epsilon)
    scale, shift = scale.astype(jnp.float32), shift.astype(jnp.float32)
    return (scale * (x.astype(jnp.float32) - mean) / std + shift).astype(x.dtype)


def local_response_norm(
    x: Float[Array, "*shape c"], *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Float[Array, "*shape c"]:
    r"""$x_i / (k + \frac{\alpha}{n} \sum_j x_j^2)^\beta$, with a sum over the n channels j around channel i of the same pixel.

    Args:
      x: the maps.
      size: the number n of channels; there are fewer at the ends. Of an even number, one more lies before than after.
      alpha: the weight of their mean square. As in PyTorch and Caffe it is divided by n. In the paper it is not: its
        $\alpha = 10^{-4}$ is `5e-4` here.
      beta: the exponent.
      k: the number that is added; 2 in the paper, 1 in Caffe and by default in PyTorch.

    Returns:
      The maps, in their dtype; computed in float32.

    Source: Krizhevsky et al. 2012, section 3.3.

    >>> local_response_norm(jnp.ones((1, 3)), size=2, alpha=2.0, beta=1.0, k=0.0)[0].tolist()
    [1.0, 0.5, 0.5]
    """
    exact = x.astype(jnp.float32)
    padding = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = jnp.pad(jnp.square(exact), padding)
    channels = x.shape[-1]
    total = sum(squares[..., i : i + channels] for i in range(size))
    return (exact / (k + alpha / size * total) ** beta).astype(x.dtype)
