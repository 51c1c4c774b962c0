"""Every convolution and transposed convolution of the package, so that their formulation is chosen in one place.

On a CPU a convolution is gathered patches times a matrix (im2col). XLA's own CPU convolution is as fast outside of a loop, but
inside `lax.scan` or `lax.fori_loop` (several steps a call, samplers, gradient accumulation) it takes some 50 times as long
(`experiments/benchmarks/convolution.py`). On an accelerator it is XLA's.
"""

import functools
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.errors import SizeError

Pads: TypeAlias = tuple[tuple[int, int], ...]


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
      The output, as `lax.conv_general_dilated` gives it. On a CPU, reverse-mode differentiation of any order is defined, and
      forward-mode (`jax.jvp`) for other strides than one only.

    Raises:
      SizeError: if the kernel is larger than the padded input.
    """
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    kh, kw = kernel.shape[:2]
    pads = lax.padtype_to_pads(x.shape[1:3], (kh, kw), strides, padding) if isinstance(padding, str) else padding
    (top, bottom), (left, right) = pads = tuple((int(before), int(after)) for before, after in pads)
    if x.shape[1] + top + bottom < kh or x.shape[2] + left + right < kw:
        raise SizeError(
            f"A kernel of {kh}x{kw} does not fit into images of {x.shape[1]}x{x.shape[2]}, padded by {pads}; "
            "shrink the images fewer times (fewer --channels), or take larger ones."
        )
    if strides == (1, 1) and max(top, bottom) < kh and max(left, right) < kw:
        return _dense(x, kernel, pads)
    return _im2col(x, kernel, strides, pads)


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


def _im2col(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads) -> Array:
    return _patches(x, kernel.shape[:2], strides, pads) @ kernel.reshape(-1, kernel.shape[-1])


def _patches(x: Array, window: tuple[int, ...], strides: tuple[int, int], pads: Pads) -> Array:
    """`[B, H', W', h * w * C]`: under each position of the window, what it sees."""
    (kh, kw), (sh, sw) = window, strides
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    h, w = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    shifts = [x[:, i : i + (h - 1) * sh + 1 : sh, j : j + (w - 1) * sw + 1 : sw] for i in range(kh) for j in range(kw)]
    return jnp.concatenate(shifts, axis=-1)


# The gradient in the input is again a convolution, with the kernel turned around. Left to itself, JAX would scatter the
# gradients of the patches back, which takes about half as long again.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _dense(x: Array, kernel: Array, pads: Pads) -> Array:
    return _im2col(x, kernel, (1, 1), pads)


def _dense_forward(x: Array, kernel: Array, pads: Pads) -> tuple[Array, tuple[Array, Array]]:
    return _dense(x, kernel, pads), (x, kernel)


def _dense_backward(pads: Pads, inputs: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    (top, bottom), (left, right) = pads
    kh, kw = kernel.shape[0] - 1, kernel.shape[1] - 1
    dx = _dense(dy, kernel[::-1, ::-1].swapaxes(2, 3), ((kh - top, kh - bottom), (kw - left, kw - right)))
    # The patches are gathered again and not kept: they are h * w times as large as the input.
    patches = _patches(x, kernel.shape[:2], (1, 1), pads)
    dkernel = lax.dot_general(patches, dy, (((0, 1, 2), (0, 1, 2)), ((), ())))
    return dx, dkernel.reshape(kernel.shape)


_dense.defvjp(_dense_forward, _dense_backward)
