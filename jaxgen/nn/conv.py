"""Every convolution and transposed convolution of the package, so that their formulation is chosen in one place.

On a CPU a convolution is gathered patches times a matrix (im2col). XLA's own CPU convolution is about as fast up to some 128
channels outside of a loop, but inside `lax.scan` or `lax.fori_loop` (several steps a call, samplers, gradient accumulation) it
takes 10 to 20 times as long, and its gradient at 256 channels does so anywhere (`experiments/benchmarks/convolution.py`).
On an accelerator it is XLA's.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c o"], strides: tuple[int, int], padding: Any = "SAME"
) -> Float[Array, "b h2 w2 o"]:
    """The convolution of `[B, H, W, C]` with a kernel `[h, w, C, out]`, in the backend's best formulation.

    Args:
      x: input.
      kernel: `[h, w, C, out]`.
      strides: vertical and horizontal steps.
      padding: "SAME", "VALID", or pixels before and after by axis.

    Returns:
      The output, as `lax.conv_general_dilated` gives it.
    """
    if jax.default_backend() == "cpu":
        return _im2col(x, kernel, strides, padding)
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


class Conv(nn.Module):
    """A convolution of `[B, H, W, C]`.

    Fields:
      features: output channels.
      kernel_size: height and width of the kernel.
      strides: vertical and horizontal steps.
      padding: "SAME", "VALID", or pixels before and after by axis.
      use_bias: adds a bias.
      kernel_init: of the kernel.
      bias_init: of the bias.
      dtype: of the computation; the parameters are float32.
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
      x: input.
      kernel: `[h, w, in, out]`.
      strides: vertical and horizontal enlargement.

    Returns:
      The output. A 4x4 kernel with stride 2 is PyTorch's `ConvTranspose2d(kernel_size=4, stride=2, padding=1)`.
    """
    b, h, w, _ = x.shape
    large = jax.ShapeDtypeStruct((b, h * strides[0], w * strides[1], kernel.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda y: convolve(y, kernel.swapaxes(2, 3), strides), large)(x)[0]


class ConvTranspose(nn.Module):
    """A transposed convolution that enlarges `[B, H, W, C]` by its strides.

    Fields:
      features: output channels.
      kernel_size: height and width of the kernel.
      strides: enlargement.
      use_bias: adds a bias.
      kernel_init: of the kernel.
      bias_init: of the bias.
      dtype: of the computation; the parameters are float32.
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


def _im2col(x: Array, kernel: Array, strides: tuple[int, int], padding: Any) -> Array:
    (kh, kw, _, out), (sh, sw) = kernel.shape, strides
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], (kh, kw), strides, padding)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    h, w = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    shifts = [x[:, i : i + (h - 1) * sh + 1 : sh, j : j + (w - 1) * sw + 1 : sw] for i in range(kh) for j in range(kw)]
    return jnp.concatenate(shifts, axis=-1) @ kernel.reshape(-1, out)
