"""Images as sequences of patches."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError
from jaxgen.nn.conv import convolve


def grid_of(height: int, width: int, patch: int) -> tuple[int, int]:
    """The rows and columns of the patches of an image.

    Args:
      height: the image's height in pixels.
      width: the image's width in pixels.
      patch: the side of a patch in pixels.

    Raises:
      SizeError: if patches do not cover the image.

    >>> grid_of(224, 112, 16)
    (14, 7)
    """
    if height % patch or width % patch:
        raise SizeError(
            f"Images of {height}x{width} cannot be cut into patches of {patch}x{patch}; give a --patch that divides both sides."
        )
    return height // patch, width // patch


def to_patches(x: Float[Array, "b h w c"], patch: int) -> Float[Array, "b n k"]:
    """The pixels of the patches, patches row by row and in each its pixels row by row, with the channels last.

    Args:
      x: images.
      patch: the side p of a patch in pixels.

    Returns:
      One vector of `p * p * C` numbers for each patch.

    >>> to_patches(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, 1].tolist()
    [2.0, 3.0, 6.0, 7.0]
    """
    b, h, w, c = x.shape
    rows, columns = grid_of(h, w, patch)
    x = x.reshape(b, rows, patch, columns, patch, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, rows * columns, patch * patch * c)


def from_patches(patches: Float[Array, "b n k"], grid: tuple[int, int], patch: int) -> Float[Array, "b h w c"]:
    """The images of patches: the inverse of `to_patches`.

    Args:
      patches: one vector of `p * p * C` numbers for each patch.
      grid: the rows and columns of patches.
      patch: the side p of a patch in pixels.

    Raises:
      SizeError: if these are not that many patches of that size.
    """
    (b, n, k), (rows, columns) = patches.shape, grid
    if n != rows * columns or k % (patch * patch):
        raise SizeError(f"{n} patches of {k} numbers are no grid of {rows}x{columns} patches of {patch}x{patch} pixels.")
    x = patches.reshape(b, rows, columns, patch, patch, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, rows * patch, columns * patch, -1)


class PatchEmbedding(nn.Module):
    """A linear map of every patch, row by row: a convolution whose stride is its kernel's side.

    Fields:
      features: the width of a patch's vector.
      patch: the side of a patch in pixels; it divides the image's.
      use_bias: whether a bias is added.
      kernel_init: the initializer of the kernel, `[patch, patch, C, features]`.
      bias_init: the initializer of the bias.
      dtype: the dtype of the computation; the parameters are float32.

    Source: Dosovitskiy et al. 2021, equation 1.
    """

    features: int
    patch: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n f"]:
        """Maps images to sequences; `SizeError` if patches do not cover them."""
        grid_of(x.shape[1], x.shape[2], self.patch)
        side = (self.patch, self.patch)
        kernel = self.param("kernel", self.kernel_init, (*side, x.shape[-1], self.features), jnp.float32)
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype), side, "VALID")
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,), jnp.float32).astype(self.dtype)
        return y.reshape(x.shape[0], -1, self.features)
