r"""Affine maps of the plane, and images that are warped by them with little loss.

A map is a matrix `[3, 3]` of homogeneous coordinates (x, y, 1), in pixels from the centre of an image, x to the right and y
down. An augmentation draws one for each example.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Map = Float[Array, "3 3"]
Number = Float[Array, ""] | float

SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466),
    *(0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578),
    *(0.0017677118642428036, -0.007800708325034148),
)
"""The low-pass filter of the wavelet symlet 6 (Daubechies 1992), which is orthogonal to its shifts by two."""

REACH = len(SYM6) // 2 - 1
"""The places of the doubled grid that the filter reaches beyond a pixel's own two, on either side."""


def translation(x: Number, y: Number) -> Map:
    """The map that moves points by x to the right and by y down."""
    return _matrix((1, 0, x), (0, 1, y))


def scaling(x: Number, y: Number) -> Map:
    """The map that multiplies the coordinates by x and y."""
    return _matrix((x, 0, 0), (0, y, 0))


def rotation(angle: Number) -> Map:
    """The map that turns points from the x-axis towards the y-axis, which is clockwise on a screen.

    >>> (rotation(jnp.pi / 2) @ jnp.array([1.0, 0.0, 1.0])).round(3).tolist()
    [-0.0, 1.0, 1.0]
    """
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _matrix((cos, -sin, 0), (sin, cos, 0))


def composed(*maps: Map) -> Map:
    """The product of maps: the last one is applied to a point first.

    >>> (composed(scaling(2.0, 2.0), translation(1.0, 0.0)) @ jnp.array([0.0, 0.0, 1.0])).tolist()
    [2.0, 0.0, 1.0]
    """
    return functools.reduce(functools.partial(jnp.matmul, precision="highest"), maps)


def warp(image: Float[Array, "h w c"], back: Map) -> Float[Array, "h w c"]:
    r"""The image $y(p) = x(B p)$, for the pixels p of the result, without jagged edges.

    x is mirrored at its outermost pixels up to three times its size, with zeros beyond, doubled by the filter `SYM6`, read
    between its pixels along lines, and halved by the same filter. Since the filter is orthogonal to its shifts by two, shifts
    by whole pixels lose nothing, where its reach of five pixels ends within the mirrored image. Since it is not symmetric,
    mirrored and turned images lie a tenth of a pixel or two off their place. The identity gives the image itself, to the bit.

    The result is linear in the image: products of matrices, and reading of pixels. So it has gradients of any order. All
    margins are the largest that there can be, so that no image depends on the others of its batch; the authors' are the largest
    of a batch.

    Args:
      image: the image; `jax.vmap` takes several, each with its map.
      back: the map B from the places of the result to those of the image.

    Returns:
      The image in its own dtype; it is computed in float32.

    Source: Karras et al. 2020 (Training generative adversarial networks with limited data), appendix B; Karras et al. 2022,
    appendix F.2; training/augment.py of github.com/NVlabs/stylegan2-ada-pytorch and of github.com/NVlabs/edm.

    >>> image = jnp.arange(64.0).reshape(8, 8, 1)
    >>> right = warp(image, translation(-1.0, 0.0))
    >>> bool(jnp.allclose(right[:, 1:], image[:, :-1], atol=1e-4))
    True
    """
    height, width = image.shape[:2]
    x = image.astype(jnp.float32)
    fine = jnp.einsum("Yy,Xx,yxc->YXc", _doubling(height), _doubling(width), x, precision="highest")
    # The places that the filter needs on the way down, from the centre of the result, in its pixels.
    down, right = (jnp.asarray((np.arange(2 * n + 2 * REACH) - n - REACH + 1) / 2, jnp.float32) for n in (height, width))
    columns = back[0, 0] * right + back[0, 1] * down[:, None] + back[0, 2]
    rows = back[1, 0] * right + back[1, 1] * down[:, None] + back[1, 2]
    read = _between(fine, 2 * rows + 3 * (height - 1), 2 * columns + 3 * (width - 1))
    out = jnp.einsum("yY,xX,YXc->yxc", _halving(height), _halving(width), read, precision="highest")
    return jnp.where((back == jnp.eye(3)).all(), x, out).astype(image.dtype)


def _matrix(*rows: tuple[Number, Number, Number]) -> Map:
    return jnp.stack([jnp.stack([jnp.asarray(x, jnp.float32) for x in row]) for row in (*rows, (0, 0, 1))])


def _doubling(side: int) -> Float[np.ndarray, "fine side"]:
    """The weights by which an axis is mirrored on both sides and doubled."""
    whole = np.arange(1 - side, 2 * side - 1)  # the places of the mirrored axis
    mirrored = side - 1 - np.abs(side - 1 - np.abs(whole))
    weights = np.zeros((2 * len(whole), side), np.float32)
    for place, source in enumerate(mirrored):
        for tap, weight in enumerate(SYM6):
            if 0 <= (row := 2 * place + tap - REACH) < len(weights):
                weights[row, source] += weight
    return weights


def _halving(side: int) -> Float[np.ndarray, "side fine"]:
    """The weights by which the doubled axis is halved."""
    weights = np.zeros((side, 2 * side + 2 * REACH), np.float32)
    for row in range(side):
        weights[row, 2 * row : 2 * row + len(SYM6)] = SYM6
    return weights


def _between(x: Array, rows: Array, columns: Array) -> Array:
    """The values of maps at places between their pixels, by the four pixels around; zero beyond the maps."""
    total = jnp.zeros((), x.dtype)
    top, left = jnp.floor(rows), jnp.floor(columns)
    for row, by_row in ((top, top + 1 - rows), (top + 1, rows - top)):
        for column, by_column in ((left, left + 1 - columns), (left + 1, columns - left)):
            inside = (row >= 0) & (row < x.shape[0]) & (column >= 0) & (column < x.shape[1])
            at = [jnp.clip(i, 0, side - 1).astype(jnp.int32) for i, side in zip((row, column), x.shape, strict=False)]
            total = total + x[at[0], at[1]] * jnp.where(inside, by_row * by_column, 0.0)[..., None]
    return total
