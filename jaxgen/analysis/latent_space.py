"""Walks through a latent space: reconstructions, interpolations and traversals, as arrays of images.

A decoder here is a function `z [N, L] -> images [N, H, W, C]` in [0, 1].
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.game import TrainState
from jaxgen.pictures import Picture
from jaxgen.types import Key

Decode = Callable[[Array], Array]


def reconstructions(x: Float[Array, "n h w c"], decoded: Float[Array, "n h w c"], *, columns: int) -> Float[Array, "n2 h w c"]:
    """Inputs and their reconstructions in alternate rows of a grid.

    Args:
      x: images, a multiple of `columns` of them.
      decoded: their reconstructions.
      columns: of the grid.

    Returns:
      Twice as many images.
    """
    pairs = jnp.stack([x.reshape(-1, columns, *x.shape[1:]), decoded.reshape(-1, columns, *x.shape[1:])], axis=1)
    return pairs.reshape(-1, *x.shape[1:])


def interpolations(decode: Decode, start: Float[Array, "n l"], stop: Float[Array, "n l"], *, steps: int) -> Array:
    r"""Straight lines in the latent space, $z_t = (1 - t) z_0 + t z_1$, a row each.

    Args:
      decode: the decoder.
      start: where the rows begin.
      stop: where they end.
      steps: images in a row, ends included.

    Returns:
      `[n * steps, H, W, C]`.
    """
    t = jnp.linspace(0.0, 1.0, steps)[None, :, None]
    lines = (1 - t) * start[:, None] + t * stop[:, None]
    return decode(lines.reshape(-1, start.shape[-1]))


def traversals(decode: Decode, z: Float[Array, " l"], dimensions: Sequence[int], *, steps: int, extent: float = 3.0) -> Array:
    """One latent moves through [-extent, extent] while the others stay, a row for each.

    Args:
      decode: the decoder.
      z: the code to start from.
      dimensions: which latents move.
      steps: images in a row.
      extent: how far, in standard deviations of the prior.

    Returns:
      `[len(dimensions) * steps, H, W, C]`.

    Source: Higgins et al. 2017, figure 1.
    """
    values = jnp.linspace(-extent, extent, steps)
    rows = [jnp.tile(z, (steps, 1)).at[:, d].set(values) for d in dimensions]
    return decode(jnp.concatenate(rows))


def album(
    encode: Callable[[TrainState, Array], Array],
    decode: Callable[[TrainState, Array], Array],
    x: Float[Array, "n h w c"],
    *,
    pixels: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Callable[[TrainState, Key], Picture]]:
    """The pictures of a model with a latent space, for `Experiment.pictures`.

    Args:
      encode: `(state, x [N, H, W, C]) -> z [N, L]`.
      decode: `(state, z) -> images [N, H, W, C]` in [0, 1].
      x: test images, 32 or more.
      pixels: the values of black and white in x.

    Returns:
      `reconstructions`, `interpolations` and `traversals`.
    """
    low, high = pixels

    def reconstruct(state: TrainState, key: Key) -> Picture:
        images = reconstructions((x[:32] - low) / (high - low), decode(state, encode(state, x[:32])), columns=16)
        return Picture(images, 16, f"Test images, each with its reconstruction below; step {int(state.step):,}")

    def interpolate(state: TrainState, key: Key) -> Picture:
        z = encode(state, x[:16])
        images = interpolations(lambda z: decode(state, z), z[:8], z[8:], steps=16)
        return Picture(images, 16, f"From one test image to another along a line in z; step {int(state.step):,}")

    def traverse(state: TrainState, key: Key) -> Picture:
        z = encode(state, x)
        # The latents that tell the images apart most: the others hardly change anything.
        active = [int(d) for d in jnp.argsort(-z.var(0))[:12]]
        images = traversals(lambda z: decode(state, z), z[0], active, steps=16)
        caption = (
            f"The most active latents, one a row, from -3 to 3, the others as a test image has them; step {int(state.step):,}"
        )
        return Picture(images, 16, caption)

    return {"reconstructions": reconstruct, "interpolations": interpolate, "traversals": traverse}
