"""Every convolution and transposed convolution of the package, so that their formulation is chosen in one place.

On an accelerator a convolution is XLA's. On a CPU it is put together from what runs at full speed also inside of a loop
(several steps per call, samplers, gradient accumulation), which the gradient in a kernel by XLA's own rule is not:
`jaxgen.nn.conv_on_cpu`. Forward-mode differentiation is the price. On a CPU `jax.jvp` and `jax.jacfwd` of a convolution raise
an error, and the derivative of y = f(x) along v is taken by reverse mode twice:
`jax.vjp(lambda u: jax.vjp(f, x)[1](u), jnp.zeros_like(y))[1]((v,))`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn import conv_on_cpu
from jaxgen.nn.padding import Padding, pixels

TORCH = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
r"""PyTorch's initializer of kernels, within $\pm 1 / \sqrt{\mathrm{fan\_in}}$."""


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    strides: tuple[int, int],
    padding: Padding = "SAME",
    *,
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Float[Array, "b h2 w2 o"]:
    """The convolution of `[B, H, W, C]` with a kernel `[h, w, C / groups, out]`, in the backend's best formulation.

    Args:
      x: the input.
      kernel: the kernel, `[h, w, C / groups, out]`.
      strides: vertical and horizontal steps.
      padding: the padding: "SAME", "VALID", pixels on every side, or pixels before and after by axis (`padding.pixels`).
      dilation: vertical and horizontal steps, in pixels, between the positions of the kernel.
      groups: groups of channels that are convolved each by itself, C of them for a depthwise convolution. The outputs are
        divided among the groups in their order.

    Returns:
      The output, as `lax.conv_general_dilated` gives it. On a CPU it is differentiated in reverse mode, to any order. Forward
      mode (`jax.jvp`) is replaced there by reverse mode twice: the derivative of y = f(x) along v is
      `jax.vjp(lambda u: jax.vjp(f, x)[1](u), jnp.zeros_like(y))[1]((v,))`.

    Raises:
      SizeError: if the kernel is larger than the padded input, or if the groups do not divide the channels.

    >>> convolve(jnp.ones((1, 8, 8, 6)), jnp.ones((3, 3, 2, 9)), (2, 2), 1, groups=3).shape
    (1, 4, 4, 9)
    """
    kh, kw, inputs, features = kernel.shape
    if inputs * groups != x.shape[-1] or features % groups:
        raise SizeError(
            f"A kernel from {inputs} to {features} channels in {groups} groups does not fit {x.shape[-1]} channels: "
            "take a number of groups that divides both numbers of channels."
        )
    pads = pixels(padding, x.shape[1:3], (kh, kw), strides, dilation)
    padded = [n + before + after for n, (before, after) in zip(x.shape[1:3], pads, strict=True)]
    if padded[0] <= (kh - 1) * dilation[0] or padded[1] <= (kw - 1) * dilation[1]:
        spread = f", dilated by {dilation}," if dilation != (1, 1) else ""
        raise SizeError(
            f"A kernel of {kh}x{kw}{spread} does not fit into images of {x.shape[1]}x{x.shape[2]}, padded by {pads}; "
            "shrink the images fewer times (fewer --channels), or take larger ones."
        )
    if jax.default_backend() == "cpu":
        return conv_on_cpu.convolution(x, kernel, strides, pads, dilation, groups)
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=conv_on_cpu.NHWC,
    )


class Conv(nn.Module):
    """A convolution of `[B, H, W, C]`.

    Fields:
      features: output channels.
      kernel_size: height and width of the kernel.
      strides: vertical and horizontal steps.
      padding: the padding: "SAME", "VALID", pixels on every side, or pixels before and after by axis (`padding.pixels`).
      dilation: vertical and horizontal steps, in pixels, between the positions of the kernel.
      groups: groups of channels that are convolved each by itself; as many as channels make the convolution depthwise.
      use_bias: whether a bias is added.
      kernel_init: the initializer of the kernel.
      bias_init: the initializer of the bias.
      dtype: the dtype of the computation; the parameters are float32.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Padding = "SAME"
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Convolves a batch."""
        shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        y = convolve(x.astype(self.dtype), kernel, self.strides, self.padding, dilation=self.dilation, groups=self.groups)
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,), jnp.float32).astype(self.dtype)
        return y


def convolve_transpose(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    padding: Padding = "SAME",
) -> Float[Array, "b h2 w2 o"]:
    """The transpose of a convolution: the map from its outputs to its inputs, which enlarges images.

    Args:
      x: the input.
      kernel: the kernel, `[h, w, in, out]`.
      strides: vertical and horizontal enlargement.
      padding: the padding of the convolution that is transposed: "SAME" (the side becomes `side * stride`), "VALID", pixels on
        every side, or pixels before and after by axis. With the latter the side becomes
        `(side - 1) * stride + kernel - before - after`. PyTorch's `padding=p, output_padding=o` are p pixels before and p - o
        after.

    Returns:
      The output. A 4x4 kernel with stride 2 and "SAME" is PyTorch's `ConvTranspose2d(kernel_size=4, stride=2, padding=1)`.

    Raises:
      SizeError: if nothing is left of the output.

    >>> convolve_transpose(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5)), (2, 2), ((1, 0), (1, 0))).shape
    (1, 8, 8, 5)
    """
    sides, size = x.shape[1:3], kernel.shape[:2]
    enlarged = tuple(n * s for n, s in zip(sides, strides, strict=True))
    pads = pixels(padding, enlarged, size, strides)
    if padding != "SAME":
        needed = zip(sides, size, strides, pads, strict=True)
        enlarged = tuple((n - 1) * s + k - before - after for n, k, s, (before, after) in needed)
    if min(enlarged) < 1:
        raise SizeError(
            f"A transposed convolution of {size[0]}x{size[1]} that takes away {pads} leaves nothing of images of "
            f"{sides[0]}x{sides[1]}; take less padding, or larger images."
        )
    shrink = functools.partial(convolve, kernel=kernel.swapaxes(2, 3), strides=strides, padding=pads)
    # By vjp and not by linear_transpose, which does not know of the gradients defined here.
    return jax.vjp(shrink, jnp.zeros((x.shape[0], *enlarged, kernel.shape[-1]), x.dtype))[1](x)[0]


class ConvTranspose(nn.Module):
    """A transposed convolution that enlarges `[B, H, W, C]` by its strides.

    Fields:
      features: output channels.
      kernel_size: height and width of the kernel.
      strides: the factors of enlargement.
      padding: the padding of the convolution that is transposed, as `convolve_transpose` takes it.
      use_bias: whether a bias is added.
      kernel_init: the initializer of the kernel.
      bias_init: the initializer of the bias.
      dtype: the dtype of the computation; the parameters are float32.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Enlarges a batch."""
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features), jnp.float32)
        y = convolve_transpose(x.astype(self.dtype), kernel.astype(self.dtype), self.strides, self.padding)
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,), jnp.float32).astype(self.dtype)
        return y
