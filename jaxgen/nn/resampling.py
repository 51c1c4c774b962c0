"""Maps at half, at double and at their own size by a separable filter, without convolutions.

XLA's depthwise and strided convolutions are slow in loops on a CPU (`jaxgen.nn.conv_on_cpu`). A filter of a few taps is a sum
of as many slices, which is fast on any device.
"""

from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.errors import SizeError

Taps: TypeAlias = tuple[float, ...]
"""The taps of a filter, an even number of them where maps are halved or doubled; only their ratios count."""

BOX: Taps = (1, 1)
"""The mean of 2x2 pixels on the way down, the nearest pixel on the way up."""

BINOMIAL: Taps = (1, 3, 3, 1)
"""The filter of StyleGAN2, of NCSN++ ("FIR") and of EDM's NCSN++."""

TRIANGLE: Taps = (1, 2, 1)
"""The filter of StyleGAN, which blurs what was enlarged or is to be halved."""


def halved(x: Float[Array, "b h w c"], taps: Taps, *, bordered: bool = False) -> Float[Array, "b h2 w2 c"]:
    r"""Every second pixel of filtered maps, $y_i = \sum_j k_j\, x_{2i + j - (n - 2)/2} / \sum_j k_j$ along both axes.

    Beyond the borders there are zeros. An odd side is halved upwards.

    Args:
      x: the maps.
      taps: the n taps k of the filter.
      bordered: whether the maps come with a border of (n - 2) / 2 pixels on every side, which then takes the place of zeros.

    Returns:
      Maps of half the size.

    Raises:
      SizeError: if the number of taps is odd.

    >>> halved(jnp.arange(4.0).reshape(1, 1, 4, 1).repeat(2, axis=1), BOX)[0, 0, :, 0].tolist()
    [0.5, 2.5]

    Source: Karras et al. 2020 (StyleGAN2), appendix B; Song et al. 2021, appendix H.1 (anti-aliasing).
    """
    reach = _reach(taps)
    for axis in (1, 2):
        side = x.shape[axis] - (2 * reach if bordered else 0)
        half = -(-side // 2)
        before, after = (0, side % 2) if bordered else (reach, reach + side % 2)
        x = _padded(x, axis, before, after)
        parts = [lax.slice_in_dim(x, j, j + 2 * half - 1, 2, axis) for j in range(len(taps))]
        x = _mixed(parts, [k / sum(taps) for k in taps])
    return x


def doubled(x: Float[Array, "b h w c"], taps: Taps) -> Float[Array, "b h2 w2 c"]:
    r"""Filtered maps of double the size: the transpose of `halved`, times two along each axis, so that means are kept.

    $y_o = 2 \sum_i k_{o - 2i + (n - 2)/2}\, x_i / \sum_j k_j$. Beyond the borders there are zeros.

    Args:
      x: the maps.
      taps: the n taps k of the filter.

    Returns:
      Maps of double the size.

    Raises:
      SizeError: if the number of taps is odd.

    >>> doubled(jnp.array([4.0, 8.0]).reshape(1, 1, 2, 1), BINOMIAL)[0, :, :, 0].tolist()
    [[2.25, 3.75, 5.25, 4.5], [2.25, 3.75, 5.25, 4.5]]

    Source: Karras et al. 2020 (StyleGAN2), appendix B; Song et al. 2021, appendix H.1 (anti-aliasing).
    """
    reach = _reach(taps)
    for axis in (1, 2):
        side, border = x.shape[axis], (reach + 1) // 2
        padded = _padded(x, axis, border, border)
        phases = []
        for phase in (0, 1):
            # Pixel 2q + phase is made of the pixels q + d, by the taps whose number is in range.
            used = [(d, tap) for d in range(-border, border + 1) if 0 <= (tap := reach + phase - 2 * d) < len(taps)]
            parts = [lax.slice_in_dim(padded, border + d, border + d + side, 1, axis) for d, _ in used]
            phases.append(_mixed(parts, [2 * taps[tap] / sum(taps) for _, tap in used]))
        shape = (*x.shape[:axis], 2 * side, *x.shape[axis + 1 :])
        x = jnp.stack(phases, axis + 1).reshape(shape)
    return x


def blurred(x: Float[Array, "b h w c"], taps: Taps = TRIANGLE) -> Float[Array, "b h w c"]:
    r"""Filtered maps of the same size, $y_i = \sum_j k_j\, x_{i + j - (n - 1)/2} / \sum_j k_j$ along both axes.

    Beyond the borders there are zeros.

    Args:
      x: the maps.
      taps: the n taps k of the filter, an odd number of them.

    Returns:
      The maps.

    Raises:
      SizeError: if the number of taps is even.

    >>> blurred(jnp.array([4.0, 0.0, 0.0, 8.0]).reshape(1, 1, 4, 1))[0, 0, :, 0].tolist()
    [1.0, 0.5, 1.0, 2.0]

    Source: Karras et al. 2019, appendix C.
    """
    if len(taps) % 2 == 0:
        raise SizeError(f"A filter that keeps the size of maps has an odd number of taps, and not {len(taps)}.")
    reach = len(taps) // 2
    for axis in (1, 2):
        side = x.shape[axis]
        padded = _padded(x, axis, reach, reach)
        parts = [lax.slice_in_dim(padded, j, j + side, 1, axis) for j in range(len(taps))]
        x = _mixed(parts, [k / sum(taps) for k in taps])
    return x


def _reach(taps: Taps) -> int:
    """The pixels that a filter reaches beyond a pair of pixels, on either side."""
    if len(taps) % 2 or not taps:
        raise SizeError(f"A filter that halves and doubles maps has an even number of taps, and not {len(taps)}.")
    return (len(taps) - 2) // 2


def _padded(x: Array, axis: int, before: int, after: int) -> Array:
    if not before and not after:
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(before, after, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)])


def _mixed(parts: Sequence[Array], weights: Sequence[float]) -> Array:
    first, *rest = (part if weight == 1 else part * weight for part, weight in zip(parts, weights, strict=True))
    for part in rest:
        first = first + part
    return first
