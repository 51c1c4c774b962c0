r"""The gradient of a stride-one convolution in its kernel on a CPU, as matrix products.

It is a correlation of the input with the gradient of the output,
$\partial K_{ij} = \sum_{b,p,q} x_{b,p+di,q+dj}\, \partial y_{b,p,q}^T$ for the dilation d. XLA's CPU backend has no fast code
for it inside a loop. Its matrix products are fast, though slower where the sums are long and the results are small, so that the
best formulation depends on the kernel and the channels.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

FEW = 64
"""Numbers under a window up to which its patches are gathered, so that all of the kernel is one product."""

MANY = 64
"""Channels from which the gradients of 3x3 kernels are computed with fewer multiplications."""


def best(
    x: Float[Array, "b h w c"], dy: Float[Array, "b h2 w2 o"], dilation: tuple[int, int] = (1, 1)
) -> Float[Array, "kh kw c o"]:
    """The gradient in the formulation that suits its sizes.

    Args:
      x: input of the convolution, padded.
      dy: gradient of its output.
      dilation: vertical and horizontal steps, in pixels, between the positions of the kernel.

    Returns:
      The gradient in a kernel of `(H - H2) / dilation + 1` rows, and of as many columns by the same rule.
    """
    kh, kw = (1 + (n - m) // d for n, m, d in zip(x.shape[1:3], dy.shape[1:3], dilation, strict=True))
    if kh * kw * x.shape[-1] <= FEW:
        return of_patches(x, dy, dilation)
    # In half precision the sums of the tiles would be rounded.
    many = min(x.shape[-1], dy.shape[-1]) >= MANY
    if (kh, kw) == (3, 3) and dilation == (1, 1) and many and x.dtype == jnp.float32:
        return winograd(x, dy)
    return by_position(x, dy, dilation)


def by_position(
    x: Float[Array, "b h w c"], dy: Float[Array, "b h2 w2 o"], dilation: tuple[int, int] = (1, 1)
) -> Float[Array, "kh kw c o"]:
    """One product for each position of the kernel."""
    return jnp.stack([jnp.stack([_product(part, dy) for part in row]) for row in _shifted(x, dy, dilation)])


def of_patches(
    x: Float[Array, "b h w c"], dy: Float[Array, "b h2 w2 o"], dilation: tuple[int, int] = (1, 1)
) -> Float[Array, "kh kw c o"]:
    """One product for the whole kernel, of what lies under each of its windows."""
    shifted = _shifted(x, dy, dilation)
    patches = jnp.concatenate([part for row in shifted for part in row], axis=-1)
    return _product(patches, dy).reshape(len(shifted), len(shifted[0]), x.shape[-1], dy.shape[-1])


def winograd(x: Float[Array, "b h w c"], dy: Float[Array, "b h2 w2 o"]) -> Float[Array, "3 3 c o"]:
    r"""The gradient in a 3x3 kernel with 16 multiplications where 36 are counted: the transpose of Winograd's F(2x2, 3x3).

    The output's gradient is cut into tiles of 2x2, the input into overlapping ones of 4x4. With $B^T d B$ of the input's tiles
    and $A y A^T$ of the others, 16 products over all tiles make $M$, and the gradient is $G^T M G$.

    Source: Lavin & Gray 2016, section 4.1.
    """
    h, w = -(-dy.shape[1] // 2), -(-dy.shape[2] // 2)
    dy = jnp.pad(dy, ((0, 0), (0, 2 * h - dy.shape[1]), (0, 2 * w - dy.shape[2]), (0, 0)))
    x = jnp.pad(x, ((0, 0), (0, 2 * h + 2 - x.shape[1]), (0, 2 * w + 2 - x.shape[2]), (0, 0)))
    tiles = [[x[:, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2] for j in range(4)] for i in range(4)]
    moved = [[dy[:, i::2, j::2] for j in range(2)] for i in range(2)]
    a, b = _twice(_input_tile, tiles), _twice(_output_tile, moved)
    # Sixteen products and no batched one, which XLA's CPU backend runs at a fraction of the speed.
    found = [[_product(a[i][j], b[i][j]) for j in range(4)] for i in range(4)]
    return jnp.stack([jnp.stack(row) for row in _twice(_kernel_tile, found)])


def _shifted(x: Array, dy: Array, dilation: tuple[int, int]) -> list[list[Array]]:
    """The input that each position of the kernel meets, `[B, H2, W2, C]`."""
    h, w = dy.shape[1:3]
    rows, columns = range(0, x.shape[1] - h + 1, dilation[0]), range(0, x.shape[2] - w + 1, dilation[1])
    return [[x[:, i : i + h, j : j + w] for j in columns] for i in rows]


def _product(x: Array, dy: Array) -> Array:
    """The sum over all pixels of the outer products of their channels, `[C, O]`."""
    return lax.dot_general(x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1]), (((0,), (0,)), ((), ())))


def _input_tile(d: Sequence[Array]) -> list[Array]:
    """$B^T d$."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _output_tile(y: Sequence[Array]) -> list[Array]:
    """$A y$."""
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]


def _kernel_tile(m: Sequence[Array]) -> list[Array]:
    """$G^T m$."""
    return [m[0] + 0.5 * (m[1] + m[2]), 0.5 * (m[1] - m[2]), 0.5 * (m[1] + m[2]) + m[3]]


def _twice(transform: Callable[[Sequence[Array]], list[Array]], tile: Sequence[Sequence[Array]]) -> list[list[Array]]:
    """A transform of both axes of a tile of arrays."""
    columns = [transform(column) for column in zip(*tile, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]
