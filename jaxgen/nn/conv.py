"""Every convolution and transposed convolution of the package, so that their formulation is chosen in one place.

On an accelerator a convolution is XLA's. On a CPU it is put together from what XLA's CPU backend runs at full speed also inside
of a loop (several steps a call, samplers, gradient accumulation), which the gradient in a kernel by XLA's own rule is not:

- A strided convolution becomes one of stride one, of blocks of pixels as channels; a transposed one follows from its gradient.
- The gradient in the input of a stride-one convolution is again a stride-one convolution.
- The gradient in the kernel is a few matrix products (`jaxgen.nn.kernel_gradient`).

These are closed under differentiation, so that gradients of any order run at the same speed. What each is worth is measured by
`experiments/benchmarks/convolution.py`.
"""

import functools
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn import kernel_gradient

Pads: TypeAlias = tuple[tuple[int, int], ...]
NHWC = ("NHWC", "HWIO", "NHWC")


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c o"], strides: tuple[int, int], padding: Any = "SAME"
) -> Float[Array, "b h2 w2 o"]:
    """The convolution of `[B, H, W, C]` with a kernel `[h, w, C, out]`, in the backend's best formulation.

    Args:
      x: the input.
      kernel: the kernel, `[h, w, C, out]`.
      strides: vertical and horizontal steps.
      padding: the padding: "SAME", "VALID", or pixels before and after by axis.

    Returns:
      The output, as `lax.conv_general_dilated` gives it. On a CPU it is differentiated in reverse mode, to any order. Forward
      mode (`jax.jvp`) is had there by reverse mode twice: the derivative of y = f(x) along v is
      `jax.vjp(lambda u: jax.vjp(f, x)[1](u), jnp.zeros_like(y))[1]((v,))`.

    Raises:
      SizeError: if the kernel is larger than the padded input.
    """
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)
    kh, kw = kernel.shape[:2]
    pads = lax.padtype_to_pads(x.shape[1:3], (kh, kw), strides, padding) if isinstance(padding, str) else padding
    pads = tuple((int(before), int(after)) for before, after in pads)
    padded = [n + before + after for n, (before, after) in zip(x.shape[1:3], pads, strict=True)]
    if padded[0] < kh or padded[1] < kw:
        raise SizeError(
            f"A kernel of {kh}x{kw} does not fit into images of {x.shape[1]}x{x.shape[2]}, padded by {pads}; "
            "shrink the images fewer times (fewer --channels), or take larger ones."
        )
    return _dense(x, kernel, pads) if strides == (1, 1) else _of_blocks(x, kernel, strides, pads)


class Conv(nn.Module):
    """A convolution of `[B, H, W, C]`.

    Fields:
      features: output channels.
      kernel_size: height and width of the kernel.
      strides: vertical and horizontal steps.
      padding: the padding: "SAME", "VALID", or pixels before and after by axis.
      use_bias: whether a bias is added.
      kernel_init: the initializer of the kernel.
      bias_init: the initializer of the bias.
      dtype: the dtype of the computation; the parameters are float32.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Any = "SAME"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Convolves a batch."""
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features), jnp.float32)
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.strides, self.padding)
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,), jnp.float32).astype(self.dtype)
        return y


def convolve_transpose(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw i o"], strides: tuple[int, int]
) -> Float[Array, "b h2 w2 o"]:
    """The transpose of a "SAME" convolution: `[B, H, W, in]` to `[B, H * stride, W * stride, out]`.

    Args:
      x: the input.
      kernel: the kernel, `[h, w, in, out]`.
      strides: vertical and horizontal enlargement.

    Returns:
      The output. A 4x4 kernel with stride 2 is PyTorch's `ConvTranspose2d(kernel_size=4, stride=2, padding=1)`.
    """
    b, h, w, _ = x.shape
    large = (b, h * strides[0], w * strides[1], kernel.shape[-1])
    shrink = functools.partial(convolve, kernel=kernel.swapaxes(2, 3), strides=strides)
    # By vjp and not by linear_transpose, which does not know of the gradients defined here.
    return jax.vjp(shrink, jnp.zeros(large, x.dtype))[1](x)[0]


class ConvTranspose(nn.Module):
    """A transposed convolution that enlarges `[B, H, W, C]` by its strides.

    Fields:
      features: output channels.
      kernel_size: height and width of the kernel.
      strides: the factors of enlargement.
      use_bias: whether a bias is added.
      kernel_init: the initializer of the kernel.
      bias_init: the initializer of the bias.
      dtype: the dtype of the computation; the parameters are float32.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Enlarges a batch."""
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features), jnp.float32)
        y = convolve_transpose(x.astype(self.dtype), kernel.astype(self.dtype), self.strides)
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,), jnp.float32).astype(self.dtype)
        return y


def _of_blocks(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads) -> Array:
    """A strided convolution as one of stride one, in which blocks of pixels are channels (space to depth)."""
    b, _, _, c = x.shape
    sizes, steps, counts, ends = [], [], [], []
    for n, (before, after), k, s in zip(x.shape[1:3], pads, kernel.shape[:2], strides, strict=True):
        out = (n + before + after - k) // s + 1
        steps.append(-(-k // s))  # the kernel in blocks
        counts.append(out - 1 + steps[-1])
        sizes.append(min(k, s))  # where windows do not overlap, what lies between them is left out
        ends.append(counts[-1] * s - n - before)
    (top, _), (left, _) = pads
    x = _padded(x, ((top, ends[0]), (left, ends[1])))
    x = x.reshape(b, counts[0], strides[0], counts[1], strides[1], c)[:, :, : sizes[0], :, : sizes[1]]
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, *counts, -1)
    more = [(0, step * size - k) for step, size, k in zip(steps, sizes, kernel.shape[:2], strict=True)]
    kernel = jnp.pad(kernel, (*more, (0, 0), (0, 0))).reshape(steps[0], sizes[0], steps[1], sizes[1], c, -1)
    return _dense(x, kernel.transpose(0, 2, 1, 3, 4, 5).reshape(*steps, -1, kernel.shape[-1]), ((0, 0), (0, 0)))


def _padded(x: Array, pads: Pads) -> Array:
    """The images with so many more pixels of zero on each side; a negative number takes pixels away."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((before, after, 0) for before, after in pads), (0, 0, 0)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _dense(x: Array, kernel: Array, pads: Pads) -> Array:
    """A convolution of stride one, `[B, H, W, C]` with `[h, w, C, out]`."""
    if kernel.shape[:2] == (1, 1):
        return _padded(x, pads) @ kernel[0, 0]
    return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=NHWC)


def _dense_forward(x: Array, kernel: Array, pads: Pads) -> tuple[Array, tuple[Array, Array]]:
    return _dense(x, kernel, pads), (x, kernel)


def _dense_backward(pads: Pads, inputs: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    return _input_gradient(dy, kernel, pads), _kernel_gradient(x, dy, pads)


_dense.defvjp(_dense_forward, _dense_backward)


def _input_gradient(dy: Array, kernel: Array, pads: Pads) -> Array:
    """Of `_dense`: again a convolution, with the kernel turned around."""
    around = tuple((k - 1 - before, k - 1 - after) for k, (before, after) in zip(kernel.shape[:2], pads, strict=True))
    return _dense(dy, kernel[::-1, ::-1].swapaxes(2, 3), around)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _kernel_gradient(x: Array, dy: Array, pads: Pads) -> Array:
    """Of `_dense`, whose other gradients follow from it: the map is linear in the input and in the output's gradient."""
    return kernel_gradient.best(_padded(x, pads), dy)


def _kernel_gradient_forward(x: Array, dy: Array, pads: Pads) -> tuple[Array, tuple[Array, Array]]:
    return _kernel_gradient(x, dy, pads), (x, dy)


def _kernel_gradient_backward(pads: Pads, inputs: tuple[Array, Array], dkernel: Array) -> tuple[Array, Array]:
    x, dy = inputs
    return _input_gradient(dy, dkernel, pads), _dense(x, dkernel, pads)


_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)
