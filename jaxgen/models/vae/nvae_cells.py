r"""The cells of NVAE: residual encoder cells, depthwise decoder cells, and how they halve and double maps.

A cell gives $\mathrm{skip}(x) + 0.1\, \mathrm{SE}(f(x))$. What halves maps doubles their channels, and the other way round.
Source: Vahdat & Kautz 2020, section 3.1, figure 3 and appendix A; github.com/NVlabs/NVAE, neural_operations.py and model.py.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.nn.conv import TORCH, Conv
from jaxgen.nn.interpolation import bilinear_between_corners, interpolate
from jaxgen.nn.masked_conv import Mask, Masked
from jaxgen.nn.norm import BatchNorm
from jaxgen.nn.squeeze_excite import SqueezeExcite
from jaxgen.nn.weight_norm import LogWeightNorm, by_log_scale
from jaxgen.types import PyTree

BRANCH = 0.1
"""The factor of what a cell adds to its input."""

OFFSETS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""The first pixels of the four grids of every second pixel, in the order of the authors' code."""

Norm = functools.partial(BatchNorm, momentum=0.95, epsilon=1e-5)
"""Their normalisation: PyTorch's momentum of 0.05 is a decay of 0.95."""


class NormedConv(nn.Module):
    """A convolution with a weight-normalised kernel, which may be masked.

    Fields:
      features: output channels.
      kernel_size: height and width of the kernel.
      strides: vertical and horizontal steps.
      use_bias: whether a bias is added.
      groups: groups of channels that are convolved each by itself.
      mask: the mask of the kernel; None masks nothing.
      gain: the factor that the kernel starts with.
      dtype: the dtype of the computation.
    """

    features: int
    kernel_size: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    use_bias: bool = True
    groups: int = 1
    mask: Mask | None = None
    gain: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Convolves a batch."""
        conv = Conv(
            self.features,
            self.kernel_size,
            self.strides,
            # Pixels on every side and not "SAME", which at a stride of 2 pads one side more than the other.
            self.kernel_size[0] // 2,
            groups=self.groups,
            use_bias=self.use_bias,
            kernel_init=TORCH if self.mask is None else self._masked,
            dtype=self.dtype,
            name="conv",
        )
        normed = LogWeightNorm(conv, self.gain, name="norm")
        return (normed if self.mask is None else Masked(normed, self.mask, name="mask"))(x)

    def _masked(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        # Zeros that the mask keeps are never moved, so a kernel may be read without its mask (`kernels_of`).
        assert self.mask is not None
        return TORCH(key, shape, dtype) * jnp.asarray(self.mask(shape), dtype)


class Halve(nn.Module):
    """The skip connection on the way up: swish, then four 1x1 convolutions, each of another grid of every second pixel.

    Fields:
      features: output channels.
      dtype: the dtype of the computation.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Halves maps whose sides are even."""
        x = nn.swish(x)
        quarter = self.features // 4
        parts = (quarter, quarter, quarter, self.features - 3 * quarter)
        grids = (x[:, i::2, j::2] for i, j in OFFSETS)
        return jnp.concatenate([NormedConv(n, dtype=self.dtype)(g) for n, g in zip(parts, grids, strict=True)], axis=-1)


class Double(nn.Module):
    """The skip connection on the way down: bilinear between the corners, then a 1x1 convolution without bias.

    Fields:
      features: output channels.
      dtype: the dtype of the computation.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Doubles maps."""
        x = interpolate(x, (2 * x.shape[1], 2 * x.shape[2]), bilinear_between_corners)
        return NormedConv(self.features, use_bias=False, dtype=self.dtype)(x)


class EncoderCell(nn.Module):
    """Twice batch normalisation, swish and a weight-normalised 3x3 convolution.

    Fields:
      features: output channels: those of the input, or twice as many in a cell that halves.
      halves: whether it halves the maps, in its first convolution.
      squeeze_excite: whether channels are scaled at the end.
      dtype: the dtype of the computation.
    """

    features: int
    halves: bool = False
    squeeze_excite: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 o"]:
        """The cell's output."""
        skip = Halve(self.features, self.dtype)(x) if self.halves else x
        for strides in ((2, 2) if self.halves else (1, 1), (1, 1)):
            x = nn.swish(Norm(dtype=self.dtype)(x, train=train))
            x = NormedConv(self.features, (3, 3), strides, dtype=self.dtype)(x)
        return skip + BRANCH * (_excited(x, self.dtype) if self.squeeze_excite else x)


class DecoderCell(nn.Module):
    """An inverted residual: batch normalisation, 1x1 to more channels, a depthwise 5x5, and 1x1 back, all without bias.

    Its convolutions are not weight-normalised; batch normalisation follows each, and swish the first two.

    Fields:
      features: output channels: those of the input, or half as many in a cell that doubles.
      expansion: the factor of the channels between; 6 in the tower of the latents, 3 behind it.
      doubles: whether it doubles the maps, before all else.
      squeeze_excite: whether channels are scaled at the end.
      dtype: the dtype of the computation.
    """

    features: int
    expansion: int = 6
    doubles: bool = False
    squeeze_excite: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 o"]:
        """The cell's output."""
        skip = Double(self.features, self.dtype)(x) if self.doubles else x
        wide = self.expansion * x.shape[-1]
        if self.doubles:
            x = x.repeat(2, 1).repeat(2, 2)
        conv = functools.partial(Conv, use_bias=False, kernel_init=TORCH, dtype=self.dtype)
        x = Norm(dtype=self.dtype)(x, train=train)
        x = nn.swish(Norm(dtype=self.dtype)(conv(wide, (1, 1))(x), train=train))
        x = nn.swish(Norm(dtype=self.dtype)(conv(wide, (5, 5), groups=wide)(x), train=train))
        x = Norm(dtype=self.dtype)(conv(self.features, (1, 1))(x), train=train)
        return skip + BRANCH * (_excited(x, self.dtype) if self.squeeze_excite else x)


def kernels_of(params: PyTree) -> dict[str, Array]:
    """The kernels of all convolutions as they are used, weight-normalised where they are, for spectral regularisation.

    Args:
      params: parameters of a network of these cells.

    Returns:
      The kernels `[h, w, in, out]` by their path.

    >>> import jax
    >>> sorted(kernels_of(NormedConv(2).init(jax.random.key(0), jnp.ones((1, 4, 4, 3)))["params"]))
    ['conv/kernel']
    """
    if "conv" in params and "norm" in params:
        return {"conv/kernel": by_log_scale(params["conv"]["kernel"], params["norm"]["log_scale"])}
    found: dict[str, Array] = {}
    for name, part in params.items():
        if isinstance(part, Mapping):
            found |= {f"{name}/{path}": kernel for path, kernel in kernels_of(part).items()}
        elif name == "kernel" and part.ndim == 4:
            found[name] = part
    return found


def scales_of(params: PyTree) -> dict[str, Array]:
    r"""The scales $\gamma$ of all batch normalisations, by their path; nothing else here has a parameter `scale`.

    Args:
      params: parameters of a network of these cells.
    """
    found: dict[str, Array] = {}
    for name, part in params.items():
        if isinstance(part, Mapping):
            found |= {f"{name}/{path}": scale for path, scale in scales_of(part).items()}
        elif name == "scale":
            found[name] = part
    return found


def _excited(x: Array, dtype: Any) -> Array:
    return SqueezeExcite(kernel_init=TORCH, dtype=dtype, name="excite")(x)
