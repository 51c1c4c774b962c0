"""Augmentations of what a discriminator sees, data and samples alike, through which the generator's gradient passes.

With little data a discriminator learns the examples by heart. To augment the data alone would have the generator copy the
augmentation; here both are augmented, in both players' turns. An augmentation is `(keys [B], x [B, H, W, C]) -> x`, and each
example is augmented by its own key.

Source: Zhao et al. 2020 (Differentiable augmentation for data-efficient GAN training), section 3.2; the ranges are those of the
authors' code (github.com/mit-han-lab/data-efficient-gans), for images between -1 and 1.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.types import Key

Augmentation = Callable[[Key, Float[Array, "b h w c"]], Float[Array, "b h w c"]]


def brightness(key: Key, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Adds one number of U(-1/2, 1/2) to each image."""
    return x + _uniform(key, x, -0.5, 0.5)


def saturation(key: Key, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Multiplies the distance of each image's channels from their mean by one number of U(0, 2); a grey image stays as it is.

    >>> grey = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> saturation(jax.random.split(jax.random.key(0), 1), grey).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * _uniform(key, x, 0.0, 2.0) + mean


def contrast(key: Key, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Multiplies the distance of each image from its mean by one number of U(1/2, 3/2)."""
    mean = x.mean((1, 2, 3), keepdims=True)
    return (x - mean) * _uniform(key, x, 0.5, 1.5) + mean


def translation(share: float = 0.125) -> Augmentation:
    """Moves each image by whole pixels, evenly up to a share of its sides; what comes in is 0.

    Args:
      share: the largest shift, as a share of the side.

    Returns:
      The augmentation.
    """

    def augment(key: Key, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        down, right = (_shift(keys.fold_in(key, axis), x, side, share) for axis, side in enumerate(x.shape[1:3]))

        def moved(image: Float[Array, "h w c"], down: Array, right: Array) -> Float[Array, "h w c"]:
            padded = jnp.pad(image, [(1, 1), (1, 1), (0, 0)])
            rows, columns = (
                jnp.clip(jnp.arange(side) + by + 1, 0, side + 1) for side, by in zip(image.shape, (down, right), strict=False)
            )
            return padded[rows][:, columns]

        return jax.vmap(moved)(x, down, right)

    return augment


def cutout(share: float = 0.5) -> Augmentation:
    """Sets a rectangle of each image to 0, at an even place; it may reach beyond the border.

    Args:
      share: the rectangle's sides, as a share of the image's.

    Returns:
      The augmentation.
    """

    def augment(key: Key, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        inside = jnp.ones((len(x), 1, 1), bool)
        for axis, side in enumerate(x.shape[1:3]):
            size = int(side * share + 0.5)
            draw = partial(jax.random.randint, minval=0, maxval=side + 1 - size % 2)
            first = keys.draw(draw, keys.fold_in(key, axis), (len(x),)) - size // 2
            # The authors clip the rectangle's pixels to the image, so that one beyond it covers the border's pixels.
            low, high = (jnp.clip(first + by, 0, side - 1)[:, None] for by in (0, size - 1))
            within = (jnp.arange(side) >= low) & (jnp.arange(side) <= high) & (size > 0)
            inside = inside & jnp.expand_dims(within, 2 - axis)
        return jnp.where(inside[..., None], 0, x)

    return augment


def chained(*augmentations: Augmentation) -> Augmentation:
    """Several augmentations, one after the other, each with numbers of its own.

    >>> key, x = jax.random.split(jax.random.key(0), 2), jnp.ones((2, 4, 4, 1))
    >>> bright = brightness(keys.fold_in(key, 0), x)
    >>> bool((chained(brightness, contrast)(key, x) == contrast(keys.fold_in(key, 1), bright)).all())
    True
    """

    def augment(key: Key, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        for i, one in enumerate(augmentations):
            x = one(keys.fold_in(key, i), x)
        return x

    return augment


color = chained(brightness, saturation, contrast)
"""The three augmentations of color, in the order of the authors' code."""


def _uniform(key: Key, x: Array, low: float, high: float) -> Float[Array, "b 1 1 1"]:
    return keys.draw(partial(jax.random.uniform, minval=low, maxval=high), key, (len(x), 1, 1, 1)).astype(x.dtype)


def _shift(key: Key, x: Array, side: int, share: float) -> Array:
    most = int(side * share + 0.5)
    return keys.draw(partial(jax.random.randint, minval=-most, maxval=most + 1), key, (len(x),))
