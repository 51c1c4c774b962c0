"""Convolutions put together from what XLA's CPU backend runs at full speed also inside of a loop.

Its own gradient in a kernel does not, and its grouped convolutions are slow anywhere. So:

- A convolution of stride one is XLA's, dilated or not. Its gradient in the input is again a convolution of stride one, and its
  gradient in the kernel is a few matrix products (`jaxgen.nn.kernel_gradient`).
- A strided convolution becomes one of stride one, of blocks of pixels as channels.
- A depthwise convolution is a sum of shifted images, each times its numbers in the kernel.
- Other groups are convolved one after the other, narrow ones several at a time.

These are closed under differentiation in reverse mode, so that gradients of any order run at the same speed. What each is worth
is measured by `experiments/benchmarks/convolution.py`.
"""

import functools
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.nn import kernel_gradient
from jaxgen.nn.padding import Pads

NHWC = ("NHWC", "HWIO", "NHWC")
NONE = ((0, 0), (0, 0))

MERGED = 16
"""Channels up to which narrow groups are convolved together, by a kernel that is zero from one group to another."""

Steps: TypeAlias = tuple[int, int]


def convolution(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "b h2 w2 o"]:
    """A convolution that is fast on a CPU, as `lax.conv_general_dilated` gives it.

    Args:
      x: the input.
      kernel: the kernel, `[h, w, C / groups, out]`.
      strides: vertical and horizontal steps.
      pads: the pixels before and after, by axis.
      dilation: vertical and horizontal steps, in pixels, between the positions of the kernel.
      groups: groups of channels that are convolved each by itself.

    Returns:
      The output.
    """
    if strides != (1, 1) and dilation != (1, 1):
        zero, gaps = jnp.zeros((), kernel.dtype), [(0, 0, d - 1) for d in dilation]
        kernel, dilation = lax.pad(kernel, zero, (*gaps, (0, 0, 0), (0, 0, 0))), (1, 1)
    if groups > 1 and kernel.shape[2] == 1:
        return _of_channels(x, kernel, strides, pads, dilation)
    if groups > 1:
        kernel, parts = _merged(kernel, groups)
        pairs = zip(jnp.split(x, parts, axis=-1), jnp.split(kernel, parts, axis=-1), strict=True)
        return jnp.concatenate([convolution(x, k, strides, pads, dilation, 1) for x, k in pairs], axis=-1)
    return _dense(x, kernel, pads, dilation) if strides == (1, 1) else _of_blocks(x, kernel, strides, pads)


def _of_blocks(x: Array, kernel: Array, strides: Steps, pads: Pads) -> Array:
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
    return _dense(x, kernel.transpose(0, 2, 1, 3, 4, 5).reshape(*steps, -1, kernel.shape[-1]), NONE, (1, 1))


def _padded(x: Array, pads: Pads) -> Array:
    """The images with so many more pixels of zero on each side; a negative number takes pixels away."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((before, after, 0) for before, after in pads), (0, 0, 0)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _dense(x: Array, kernel: Array, pads: Pads, dilation: Steps) -> Array:
    """A convolution of stride one, `[B, H, W, C]` with `[h, w, C, out]`."""
    if kernel.shape[:2] == (1, 1):
        return _padded(x, pads) @ kernel[0, 0]
    return lax.conv_general_dilated(x, kernel, (1, 1), pads, rhs_dilation=dilation, dimension_numbers=NHWC)


def _dense_forward(x: Array, kernel: Array, pads: Pads, dilation: Steps) -> tuple[Array, tuple[Array, Array]]:
    return _dense(x, kernel, pads, dilation), (x, kernel)


def _dense_backward(pads: Pads, dilation: Steps, inputs: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    return _input_gradient(dy, kernel, pads, dilation), _kernel_gradient(x, dy, pads, dilation)


_dense.defvjp(_dense_forward, _dense_backward)


def _input_gradient(dy: Array, kernel: Array, pads: Pads, dilation: Steps) -> Array:
    """The gradient of `_dense` in its input: again a convolution, with the kernel turned around."""
    return _dense(dy, kernel[::-1, ::-1].swapaxes(2, 3), _around(kernel, pads, dilation), dilation)


def _around(kernel: Array, pads: Pads, dilation: Steps) -> Pads:
    """The padding of the output's gradient, of which a convolution makes that of the input."""
    reach = [(k - 1) * d for k, d in zip(kernel.shape[:2], dilation, strict=True)]
    return tuple((n - before, n - after) for n, (before, after) in zip(reach, pads, strict=True))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(x: Array, dy: Array, pads: Pads, dilation: Steps) -> Array:
    """The gradient of `_dense` in its kernel; its own gradients follow, since it is linear in the input and in dy."""
    return kernel_gradient.best(_padded(x, pads), dy, dilation)


def _kernel_gradient_forward(x: Array, dy: Array, pads: Pads, dilation: Steps) -> tuple[Array, tuple[Array, Array]]:
    return _kernel_gradient(x, dy, pads, dilation), (x, dy)


def _kernel_gradient_backward(pads: Pads, dilation: Steps, inputs: tuple[Array, Array], dkernel: Array) -> tuple[Array, Array]:
    x, dy = inputs
    return _input_gradient(dy, dkernel, pads, dilation), _dense(x, dkernel, pads, dilation)


_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _merged(kernel: Array, groups: int) -> tuple[Array, int]:
    """A kernel of fewer groups that does the same, and their number."""
    h, w, width, features = kernel.shape
    n = max(n for n in range(1, groups + 1) if groups % n == 0 and (n == 1 or n * width <= MERGED))
    rows = kernel.reshape(h, w, 1, width, groups // n, n, -1) * jnp.eye(n, dtype=kernel.dtype)[:, None, None, :, None]
    return rows.reshape(h, w, n * width, features), groups // n


def _of_channels(x: Array, kernel: Array, strides: Steps, pads: Pads, dilation: Steps) -> Array:
    """A convolution of each channel by itself, `[B, H, W, C]` with `[h, w, 1, C m]`."""
    dtype = x.dtype
    exact = jnp.float32 if dtype.itemsize < 4 else dtype  # half precision would round each of the sums
    x = _padded(x, pads).astype(exact).repeat(kernel.shape[-1] // x.shape[-1], axis=-1)
    kernel = kernel[:, :, 0].astype(exact)
    if strides == (1, 1):
        return _depthwise(x, kernel, NONE, dilation).astype(dtype)
    h, w = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], kernel.shape[:2], strides, strict=True))
    found = []
    for i in range(min(strides[0], kernel.shape[0])):
        for j in range(min(strides[1], kernel.shape[1])):
            part = kernel[i :: strides[0], j :: strides[1]]
            pixels = x[:, i :: strides[0], j :: strides[1]][:, : h + part.shape[0] - 1, : w + part.shape[1] - 1]
            found.append(_depthwise(pixels, part, NONE, (1, 1)))
    return functools.reduce(jnp.add, found).astype(dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: Array, kernel: Array, pads: Pads, dilation: Steps) -> Array:
    """A convolution of stride one of each channel by itself, `[B, H, W, C]` with `[h, w, C]`."""
    shifted = _shifted(_padded(x, pads), kernel.shape[:2], dilation)
    products = [part * kernel[i, j] for i, row in enumerate(shifted) for j, part in enumerate(row)]
    return functools.reduce(jnp.add, products)


def _depthwise_forward(x: Array, kernel: Array, pads: Pads, dilation: Steps) -> tuple[Array, tuple[Array, Array]]:
    return _depthwise(x, kernel, pads, dilation), (x, kernel)


def _depthwise_backward(pads: Pads, dilation: Steps, inputs: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    # The sum over columns comes last: so XLA adds whole rows of all channels.
    shifted = _shifted(_padded(x, pads), kernel.shape[:2], dilation)
    dkernel = jnp.stack([jnp.stack([(part * dy).sum((0, 1)).sum(0) for part in row]) for row in shifted])
    return _depthwise(dy, kernel[::-1, ::-1], _around(kernel, pads, dilation), dilation), dkernel


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _shifted(x: Array, size: tuple[int, ...], dilation: Steps) -> list[list[Array]]:
    """The padded input that each position of the kernel meets."""
    h, w = (n - (k - 1) * d for n, k, d in zip(x.shape[1:3], size, dilation, strict=True))
    rows, columns = ([d * i for i in range(k)] for k, d in zip(size, dilation, strict=True))
    return [[x[:, i : i + h, j : j + w] for j in columns] for i in rows]
