"""Sampling from autoregressive models of images, pixel by pixel, by a full pass each."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxgen import keys
from jaxgen.errors import InputError
from jaxgen.types import Key

Law = Callable[[Array], Any]
"""`law(x [n, h, w, c])`, a distribution over all pixels, each given those before it, with a method `sample(key)`."""


def pixel_by_pixel(
    law: Law,
    key: Key,
    shape: tuple[int, int, int, int],
    *,
    known: Float[Array, "n h w c"] | None = None,
    mask: Bool[Array, "h w"] | None = None,
) -> Float[Array, "n h w c"]:
    """Draws images, each pixel given those before it row by row, or completes images of which a part is known.

    Known pixels stay as they are. If they come first, as the upper rows do, the draw is one of the model's conditional
    distribution given them.

    Args:
      law: the distribution of the pixels of images.
      key: the key of the draw, or a key for each image `[n]`. Pixel i draws with `fold_in(key, i)`.
      shape: the shape of what is drawn.
      known: images, of which the pixels under the mask are kept.
      mask: a mask that is true where the pixels are known, of all images alike.

    Returns:
      The images, in the range of the law.

    Raises:
      InputError: if images are given without a mask, or a mask without images.

    >>> import jax
    >>> from jaxgen.distributions import Bernoulli
    >>> pixel_by_pixel(lambda x: Bernoulli(jnp.full(x.shape, 30.0)), jax.random.key(0), (1, 1, 3, 1)).ravel().tolist()
    [1.0, 1.0, 1.0]
    """
    if (known is None) != (mask is None):
        raise InputError("Images are completed from known ones and a mask of their places; give both, or neither.")
    _, h, w, _ = shape
    start = jnp.zeros(shape, jnp.float32) if known is None or mask is None else jnp.where(mask[..., None], known, 0.0)
    kept = jnp.zeros(h * w, bool) if mask is None else mask.reshape(-1)

    def at(x: Array, here: tuple[Array, Array]) -> tuple[Array, None]:
        position, keep = here
        place = (jnp.arange(h * w) == position).reshape(h, w, 1) & ~keep
        drawn = law(x).sample(keys.fold_in(key, position))
        return jnp.where(place, drawn, x), None

    return lax.scan(at, start, (jnp.arange(h * w), kept))[0]
