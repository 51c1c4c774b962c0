"""Points in the plane as pictures."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def density(points: Float[Array, "n 2"], *, extent: float, bins: int = 128) -> Float[Array, "h w 1"]:
    """A histogram of points as an image: brighter where there are more, on a scale of logarithms.

    Args:
      points: the points (x, y), x to the right and y upwards.
      extent: the image shows the square [-extent, extent]; what lies outside is not counted.
      bins: cells along a side.

    Returns:
      The image in [0, 1], `[bins, bins, 1]`.
    """
    counts, _, _ = jnp.histogram2d(points[:, 0], points[:, 1], bins=bins, range=((-extent, extent), (-extent, extent)))
    counts = counts.astype(jnp.float32)
    brightness = jnp.log1p(counts) / jnp.log1p(jnp.maximum(counts.max(), 1.0))
    return brightness.T[::-1, :, None]
