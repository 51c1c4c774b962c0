"""Weight normalisation in two forms, and the equalised learning rate."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn.conv import Conv
from jaxgen.nn.transformed import call_transformed, is_kernel


class WeightNorm(nn.Module):
    r"""A layer whose kernel has a direction v and lengths g, $w = g\, v / \|v\|$ for each output by itself.

    `WeightNorm(Conv(8, (3, 3)))(x)`. The layer's own parameter `kernel` is v. The lengths are the parameter `scale` of this
    module and start as those of v, so that the layer starts as it would without. A kernel that starts at zero has no direction
    and would stay zero: where a layer is to start at zero, set its `scale` so.

    Source: Salimans & Kingma 2016, equation 2; the same as PyTorch's `weight_norm`.

    Fields:
      layer: the layer.
      axis: the kernel's axis along which each index has a length of its own: -1 is the outputs'. PyTorch takes by default the
        inputs' for transposed convolutions, which is -2.
    """

    layer: nn.Module
    axis: int = -1

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer with the normalised kernel."""
        return call_transformed(self.layer, self._normalised, *args, **kwargs)

    def _normalised(self, name: str, parameter: Array) -> Array:
        if not is_kernel(name):
            return parameter
        others = tuple(i for i in range(parameter.ndim) if i != self.axis % parameter.ndim)
        squared = jnp.square(parameter).sum(others, keepdims=True)
        # The root of a masked output's squared length, zero, would have no gradient.
        length = jnp.sqrt(jnp.where(squared > 0, squared, 1.0))
        scale = self.param(name.removesuffix("kernel") + "scale", lambda _: jnp.where(squared > 0, length, 0.0).reshape(-1))
        return parameter * (scale.reshape(length.shape) / length)


class LogWeightNorm(nn.Module):
    r"""A layer whose kernel has a direction v and logarithms of lengths, $w = e^s\, v / (\|v\| + 10^{-5})$ for each output.

    As `WeightNorm`, but lengths stay above zero, and move by factors. The logarithms are the parameter `log_scale` of this
    module, and start as $\log(g (\|v\| + 10^{-2}))$.

    Source: Vahdat & Kautz 2020, section 3.2 and appendix A; github.com/NVlabs/NVAE, neural_operations.py (`Conv2D`).

    Fields:
      layer: the layer.
      gain: the factor g that the kernel starts with.
    """

    layer: nn.Module
    gain: float = 1.0

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer with the normalised kernel."""
        return call_transformed(self.layer, self._normalised, *args, **kwargs)

    def _normalised(self, name: str, parameter: Array) -> Array:
        if not is_kernel(name):
            return parameter
        log_scale = self.param(
            name.removesuffix("kernel") + "log_scale", lambda _: jnp.log(_lengths(parameter) + 1e-2) + math.log(self.gain)
        )
        return by_log_scale(parameter, log_scale)


def by_log_scale(direction: Float[Array, "*inputs o"], log_scale: Float[Array, " o"]) -> Float[Array, "*inputs o"]:
    r"""The kernel $e^s\, v / (\|v\| + 10^{-5})$ of `LogWeightNorm`.

    Args:
      direction: the layer's parameter v.
      log_scale: the logarithms s of the outputs' lengths.

    Returns:
      The kernel.

    >>> by_log_scale(jnp.array([[3.0], [4.0]]), jnp.log(jnp.array([10.0]))).round().tolist()
    [[6.0], [8.0]]
    """
    return direction * (jnp.exp(log_scale) / (_lengths(direction) + 1e-5))


def _lengths(kernel: Array) -> Array:
    """The lengths of the outputs' weights, whose gradient at zero is zero."""
    squared = jnp.square(kernel).sum(tuple(range(kernel.ndim - 1)))
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)


class Equalised(nn.Module):
    r"""A layer with an equalised learning rate, $w = g\, \lambda\, \hat w / \sqrt{n}$ and $b = \lambda\, \hat b$ for n inputs.

    The parameters $\hat w$ have about the same size in all layers, so that an optimizer as Adam moves all of them at the same
    relative speed. The layer has to draw its kernel accordingly:
    `Equalised(Conv(8, (3, 3), kernel_init=nn.initializers.normal(1.0)))`, and with the standard deviation $1 / \lambda$ where
    lambda is not one. So its outputs have about g times the size of its inputs.

    Source: Karras et al. 2018, section 4.1; lambda is the mapping network's in Karras et al. 2019, appendix C.

    Fields:
      layer: the layer.
      gain: the factor g, $\sqrt 2$ for layers before a ReLU (He et al. 2015).
      multiplier: the factor lambda of the learning rate.
    """

    layer: nn.Module
    gain: float = math.sqrt(2.0)
    multiplier: float = 1.0

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer with the scaled parameters."""
        return call_transformed(self.layer, self._scaled, *args, **kwargs)

    def _scaled(self, name: str, parameter: Array) -> Array:
        if not is_kernel(name):
            return self.multiplier * parameter
        return (self.gain * self.multiplier / math.sqrt(math.prod(parameter.shape[:-1]))) * parameter


def equalised_conv(
    features: int,
    kernel_size: tuple[int, int] = (3, 3),
    *,
    gain: float = math.sqrt(2.0),
    use_bias: bool = True,
    dtype: Any = jnp.float32,
    name: str | None = None,
) -> Equalised:
    """A convolution with an equalised learning rate, whose parameters are drawn accordingly.

    Args:
      features: output channels.
      kernel_size: height and width of the kernel.
      gain: the factor g of `Equalised`.
      use_bias: whether a bias is added.
      dtype: the dtype of the computation.
      name: the name of the layer.

    Returns:
      The layer, whose parameters are `layer/kernel`, from N(0, 1), and `layer/bias`, from zero.

    Source: Karras et al. 2018, section 4.1.
    """
    normal = nn.initializers.normal(1.0)
    layer = Conv(features, kernel_size, use_bias=use_bias, kernel_init=normal, dtype=dtype, parent=None)
    return Equalised(layer, gain, name=name)


def equalised_dense(
    features: int,
    *,
    gain: float = math.sqrt(2.0),
    multiplier: float = 1.0,
    use_bias: bool = True,
    dtype: Any = jnp.float32,
    name: str | None = None,
) -> Equalised:
    r"""A dense layer with an equalised learning rate, whose parameters are drawn accordingly.

    Args:
      features: output features.
      gain: the factor g of `Equalised`.
      multiplier: the factor lambda of the learning rate.
      use_bias: whether a bias is added.
      dtype: the dtype of the computation.
      name: the name of the layer.

    Returns:
      The layer, whose parameters are `layer/kernel`, from $N(0, 1 / \lambda^2)$, and `layer/bias`, from zero.

    Source: Karras et al. 2018, section 4.1; Karras et al. 2019, appendix C (lambda).
    """
    normal = nn.initializers.normal(1.0 / multiplier)
    layer = nn.Dense(features, use_bias=use_bias, kernel_init=normal, dtype=dtype, parent=None)
    return Equalised(layer, gain, multiplier, name=name)
