"""Pictures of models whose latents are maps: reconstructions, and the channels of the latents as grey maps."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.analysis import latent_space
from jaxgen.game import TrainState
from jaxgen.pictures import Picture
from jaxgen.types import Key

EXTENT = 2.0
"""Standard deviations from the mean at which a latent is shown as black or white."""

MOST = 4
"""Channels that are shown, at most."""


def grey(z: Float[Array, "n h w d"], size: tuple[int, int]) -> Float[Array, "d n height width"]:
    r"""The channels of latents as grey maps: 1/2 for the channel's mean, black and white two standard deviations from it.

    Args:
      z: the latents of n images, by which the mean and the standard deviation of each channel are taken.
      size: the height and the width of the maps, by the nearest latents.

    Returns:
      The maps, in [0, 1].

    >>> [round(x, 2) for x in grey(jnp.array([-1.0, 0.0, 0.0, 1.0]).reshape(1, 2, 2, 1), (2, 2)).ravel().tolist()]
    [0.15, 0.5, 0.5, 0.85]
    """
    mean, std = z.mean((0, 1, 2)), z.std((0, 1, 2))
    shown = jnp.clip(0.5 + (z - mean) / jnp.maximum(2 * EXTENT * std, 1e-12), 0.0, 1.0)
    for axis, side in enumerate(size, start=1):
        # The place in the map that lies under each pixel.
        shown = shown.take(jnp.arange(side) * shown.shape[axis] // side, axis=axis)
    return jnp.moveaxis(shown, -1, 0)


def album(
    encode: Callable[[TrainState, Array], Array],
    decode: Callable[[TrainState, Array], Array],
    x: Float[Array, "n h w c"],
    *,
    pixels: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Callable[[TrainState, Key], Picture]]:
    """The pictures of a model whose latents are maps, for `Experiment.pictures`.

    Args:
      encode: the encoder, `(state, x [N, H, W, C]) -> z [N, h, w, D]`.
      decode: the decoder, `(state, z) -> images [N, H, W, C]` in [0, 1].
      x: test images, of which the first 32 are shown.
      pixels: the values of black and white in x.

    Returns:
      `reconstructions`, `latents` (images with the channels of their latents below) and `interpolations`.
    """
    low, high = pixels
    x = x[:32]
    images, columns = (x - low) / (high - low), min(16, len(x))

    def latents(state: TrainState, key: Key) -> Picture:
        z = encode(state, x)
        maps = grey(z, (x.shape[1], x.shape[2]))[:MOST, :columns, ..., None]
        rows = jnp.concatenate([images[None, :columns], jnp.broadcast_to(maps, (*maps.shape[:-1], x.shape[-1]))])
        height, width, channels = z.shape[1:]
        which = f"the first {MOST} of {channels} channels" if channels > MOST else f"the {channels} channels"
        caption = f"Test images, each with {which} of its {height}x{width} latents below, grey for a channel's mean"
        return Picture(rows.reshape(-1, *x.shape[1:]), columns, f"{caption}; step {int(state.step):,}")

    of_any_space = latent_space.album(encode, decode, x, pixels=pixels)
    return {**{name: of_any_space[name] for name in ("reconstructions", "interpolations")}, "latents": latents}
