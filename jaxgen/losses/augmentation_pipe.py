r"""The pipe of augmentations of StyleGAN2-ADA: a list of changes of an image, each of which happens with probability p.

A discriminator of augmented images learns their law, and the generator that of the images as they are, as long as the one
follows from the other. Quarter turns drawn evenly always leave no trace of how an image stood; drawn with p below 1, they do.

Source: Karras et al. 2020 (Training generative adversarial networks with limited data), sections 2 and 3.1, appendix B; the
constants are those of the authors' code (github.com/NVlabs/stylegan2-ada-pytorch, training/augment.py).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen import affine
from jaxgen.errors import InputError
from jaxgen.types import Key

LUMA = np.ones((3, 3), np.float32) / 3
"""The projection of a colour on the axis of the greys."""


class Changes(NamedTuple):
    """The changes of one image; zeros change nothing.

    Fields:
      mirrored: whether it is mirrored left to right, 0 or 1.
      quarter_turns: turns by 90 degrees, 0 to 3.
      whole_shift: shares of the width and the height by which it is moved, rounded to whole pixels.
      size: the logarithm of the enlargement, to base 2.
      turn_before: the angle by which it is turned before it is stretched, in radians.
      stretch: the logarithm, to base 2, by which it is longer along the x-axis and shorter along the y-axis.
      turn_after: the angle by which it is turned after that.
      shift: shares of the width and the height by which it is moved.
      brightness: the number that is added to all pixels.
      contrast: the logarithm of the factor of all pixels, to base 2.
      luma_flipped: whether light and dark are exchanged and colours kept, 0 or 1.
      hue: the angle by which colours are turned about the greys.
      saturation: the logarithm of the factor of the colours' distances from the greys, to base 2.
    """

    mirrored: Float[Array, ""] | float = 0.0
    quarter_turns: Float[Array, ""] | float = 0.0
    whole_shift: Float[Array, "2"] | tuple[float, float] = (0.0, 0.0)
    size: Float[Array, ""] | float = 0.0
    turn_before: Float[Array, ""] | float = 0.0
    stretch: Float[Array, ""] | float = 0.0
    turn_after: Float[Array, ""] | float = 0.0
    shift: Float[Array, "2"] | tuple[float, float] = (0.0, 0.0)
    brightness: Float[Array, ""] | float = 0.0
    contrast: Float[Array, ""] | float = 0.0
    luma_flipped: Float[Array, ""] | float = 0.0
    hue: Float[Array, ""] | float = 0.0
    saturation: Float[Array, ""] | float = 0.0


def drawn(key: Key, p: Float[Array, ""] | float) -> Changes:
    r"""Changes of one image, each with probability p.

    Angles are of $U(-\pi, \pi)$. Those before and after the stretch happen with probability $1 - \sqrt{1 - p}$ each, so that
    one of them happens with probability p. Sizes and stretches are of $N(0, 0.2^2)$, as is the brightness; the contrast is of
    $N(0, 0.5^2)$, the saturation of $N(0, 1)$, and in each direction a whole shift of $U(-1/8, 1/8)$ and the other of
    $N(0, 1/8^2)$.

    Args:
      key: the image's key.
      p: the probability; above 1 it counts as 1.

    Returns:
      The changes.
    """
    own = iter(jax.random.split(key, 2 * len(Changes._fields)))

    def if_due(value: Array, due: Array | float = p) -> Array:
        return jnp.where(jax.random.uniform(next(own)) < due, value, 0.0)

    def one_of(n: int) -> Array:
        return jax.random.randint(next(own), (), 0, n).astype(jnp.float32)

    def normal(std: float, shape: tuple[int, ...] = ()) -> Array:
        return std * jax.random.normal(next(own), shape)

    def angle() -> Array:
        return jax.random.uniform(next(own), minval=-np.pi, maxval=np.pi)

    one_turn = 1 - jnp.sqrt(1 - jnp.clip(p, 0.0, 1.0))
    return Changes(
        mirrored=if_due(one_of(2)),
        quarter_turns=if_due(one_of(4)),
        whole_shift=if_due(jax.random.uniform(next(own), (2,), minval=-0.125, maxval=0.125)),
        size=if_due(normal(0.2)),
        turn_before=if_due(angle(), one_turn),
        stretch=if_due(normal(0.2)),
        turn_after=if_due(angle(), one_turn),
        shift=if_due(normal(0.125, (2,))),
        brightness=if_due(normal(0.2)),
        contrast=if_due(normal(0.5)),
        luma_flipped=if_due(one_of(2)),
        hue=if_due(angle()),
        saturation=if_due(normal(1.0)),
    )


def changed(image: Float[Array, "h w c"], changes: Changes) -> Float[Array, "h w c"]:
    """The image after its changes: all of its place by one warp, then all of its colour by one affine map.

    Of a grey image hue and saturation stay as they are, and the others change it as they change its grey in colour.

    Args:
      image: the image, grey or in colour, about between -1 and 1.
      changes: the changes.

    Returns:
      The image; where nothing changes, the same to the bit.

    Raises:
      InputError: if it has neither 1 nor 3 channels.

    >>> image = jnp.arange(16.0).reshape(4, 4, 1) / 8 - 1
    >>> bool((changed(image, Changes()) == image).all())
    True
    >>> changed(image, Changes(brightness=0.25))[0, :2, 0].tolist()
    [-0.75, -0.625]
    """
    height, width, channels = image.shape
    if channels not in (1, 3):
        raise InputError(f"Grey images and images in colour are augmented, and these have {channels} channels.")
    across, down = (jnp.asarray(changes.whole_shift)[i] * side for i, side in enumerate((width, height)))
    right, below = (jnp.asarray(changes.shift)[i] * side for i, side in enumerate((width, height)))
    smaller = jnp.exp2(-jnp.asarray(changes.size))
    back = affine.composed(
        affine.scaling(1 - 2 * jnp.asarray(changes.mirrored), 1.0),
        affine.rotation(jnp.pi / 2 * jnp.asarray(changes.quarter_turns)),
        affine.translation(-jnp.round(across), -jnp.round(down)),
        affine.scaling(smaller, smaller),
        affine.rotation(jnp.asarray(changes.turn_before)),
        affine.scaling(jnp.exp2(-jnp.asarray(changes.stretch)), jnp.exp2(jnp.asarray(changes.stretch))),
        affine.rotation(jnp.asarray(changes.turn_after)),
        affine.translation(-right, -below),
    )
    x = affine.warp(image, back)
    matrix, added = _colour(changes, grey=channels == 1)
    if channels == 1:
        # The mean over the channels of a grey in colour.
        matrix, added = matrix.sum(1).mean().reshape(1, 1), added.mean().reshape(1)
    coloured = (jnp.einsum("ij,hwj->hwi", matrix, x.astype(jnp.float32), precision="highest") + added).astype(x.dtype)
    of_colour = [changes.brightness, changes.contrast, changes.luma_flipped]
    of_colour += [] if channels == 1 else [changes.hue, changes.saturation]
    kept = jnp.stack([jnp.asarray(change) == 0 for change in of_colour]).all()
    return jnp.where(kept, x, coloured)


def bgc(key: Key, x: Float[Array, "b h w c"], p: Float[Array, ""] | float) -> Float[Array, "b h w c"]:
    """Images after changes of place ("blits" by whole pixels, other geometry) and of colour, each with probability p.

    It is the authors' pipe of the same name. With a fixed p, `functools.partial(bgc, p=0.2)` is an `Augmentation`.

    Args:
      key: the keys of the examples.
      x: the images.
      p: the probability of each change.

    Returns:
      The images.
    """
    return jax.vmap(lambda own, image: changed(image, drawn(own, p)))(key, x)


def _colour(changes: Changes, *, grey: bool) -> tuple[Float[Array, "3 3"], Float[Array, "3"]]:
    """The affine map of colours: the matrix, and what is added after it."""
    factor, flipped = jnp.exp2(jnp.asarray(changes.contrast)), jnp.asarray(changes.luma_flipped)
    luma = jnp.asarray(LUMA)
    matrix = (jnp.eye(3) - 2 * luma * flipped) * factor
    if not grey:
        cos, sin = jnp.cos(jnp.asarray(changes.hue)), jnp.sin(jnp.asarray(changes.hue))
        cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / np.sqrt(3).astype(np.float32)
        hue = luma * (1 - cos) + cos * jnp.eye(3) + sin * cross
        saturation = luma + (jnp.eye(3) - luma) * jnp.exp2(jnp.asarray(changes.saturation))
        matrix = affine.composed(saturation, hue, matrix)
    return matrix, matrix.sum(1) * changes.brightness
