"""Counts of codes that are whole numbers, and pictures of models with grids of them: maps of codes, and the images of codes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxgen.analysis.latent_space import reconstructions
from jaxgen.game import TrainState
from jaxgen.pictures import Picture
from jaxgen.types import Key

MOST = 200
"""Codes that are shown, at most."""


def palette(count: int) -> Float[Array, "k 3"]:
    """Distinct colours of the codes 0 to K - 1: numbers that follow one another are a golden angle apart.

    Args:
      count: the number K of codes.

    >>> palette(5).shape
    (5, 3)
    """
    hue = jnp.arange(count, dtype=jnp.float32) * (5**0.5 - 1) / 2
    return 0.5 + 0.5 * jnp.cos(2 * jnp.pi * (hue[:, None] + jnp.array([0, 1 / 3, 2 / 3])))


def counted(codes: Int[Array, "b *grid"], count: int) -> Int[Array, "b k"]:
    """The number of times that each code occurs in each example.

    Args:
      codes: the codes of the examples.
      count: the number K of codes.

    >>> counted(jnp.array([[[0, 2], [2, 2]]]), 4).tolist()
    [[1, 0, 3, 0]]
    """
    return jax.vmap(lambda own: jnp.bincount(own, length=count))(codes.reshape(len(codes), -1))


def unigram_bits(counts: Float[np.ndarray, " k"]) -> float:
    r"""$-\sum_k p_k \log_2 p_k$ of the codes' frequencies: the bits that a code costs if nothing is known of the others.

    Args:
      counts: the number of times that each code was chosen.

    >>> unigram_bits(np.array([2.0, 1.0, 1.0, 0.0]))
    1.5
    """
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum())


def maps(codes: Int[Array, "n h w"], count: int, size: tuple[int, int]) -> Float[Array, "n height width 3"]:
    """Grids of codes as images: a square of its colour for each code.

    Args:
      codes: the codes, 0 to K - 1.
      count: the number K of codes.
      size: the height and the width of the images.

    Returns:
      The images, in [0, 1].

    >>> found = maps(jnp.array([[[0, 1]]]), 2, (2, 4))
    >>> bool((found[0, 0] == palette(2)[jnp.array([0, 0, 1, 1])]).all())
    True
    """
    colours = palette(count)[codes]
    for axis, side in enumerate(size, start=1):
        # The place in the grid that lies under each pixel.
        colours = colours.take(jnp.arange(side) * colours.shape[axis] // side, axis=axis)
    return colours


def album(
    encode: Callable[[TrainState, Array], Array],
    decode: Callable[[TrainState, Array], Array],
    x: Float[Array, "n h w c"],
    count: int,
    *,
    pixels: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Callable[[TrainState, Key], Picture]]:
    """The pictures of a model with discrete codes, for `Experiment.pictures`.

    Args:
      encode: the encoder, `(state, x [N, H, W, C]) -> codes [N, h, w]`.
      decode: the decoder, `(state, codes) -> images [N, H, W, C]` in [0, 1].
      x: test images. The first 32 are shown; all of them are counted for how often each code is chosen.
      count: the number of codes.
      pixels: the values of black and white in x.

    Returns:
      `reconstructions`, `code_maps` and `codebook`: the images whose codes are all the same, of the codes that are chosen most
      often.
    """
    low, high = pixels

    def originals() -> Array:
        return (x[:32] - low) / (high - low)

    def reconstruct(state: TrainState, key: Key) -> Picture:
        columns = min(16, len(x))
        images = reconstructions(originals(), decode(state, encode(state, x[:32])), columns=columns)
        return Picture(images, columns, f"Test images, each with its reconstruction below; step {int(state.step):,}")

    def code_maps(state: TrainState, key: Key) -> Picture:
        columns, codes = min(16, len(x)), encode(state, x[:32])
        coloured = originals() if x.shape[-1] == 3 else originals()[..., :1].repeat(3, axis=-1)
        images = reconstructions(coloured, maps(codes, count, (x.shape[1], x.shape[2])), columns=columns)
        caption = f"Test images, each with its {codes.shape[1]}x{codes.shape[2]} codes below, a colour for each"
        return Picture(images, columns, f"{caption}; step {int(state.step):,}")

    def codebook(state: TrainState, key: Key) -> Picture:
        codes = encode(state, x)
        often = jnp.bincount(codes.ravel(), length=count)
        used, most = int((often > 0).sum()), min(count, MOST)
        first = jnp.argsort(-often)[:most]
        alike = jnp.broadcast_to(first[:, None, None], (most, *codes.shape[1:]))
        images = decode(state, alike)[:used]
        columns = min(20, len(images))
        images = jnp.pad(images, ((0, -len(images) % columns), *((0, 0),) * 3), constant_values=1.0)
        caption = (
            f"{used} of {count} codes are chosen for {len(x):,} test images; what is decoded where all codes are the same, "
            f"the most frequent first; step {int(state.step):,}"
        )
        return Picture(images, columns, caption)

    return {"reconstructions": reconstruct, "code_maps": code_maps, "codebook": codebook}


def album_of_two_levels(
    encode: Callable[[TrainState, Array], tuple[Array, Array]],
    decode: Callable[[TrainState, Array, Array], Array],
    coarse: Callable[[TrainState, Array, Array], Array],
    x: Float[Array, "n h w c"],
    count: int,
    *,
    pixels: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Callable[[TrainState, Key], Picture]]:
    """The pictures of a model with a coarse grid of codes above a fine one, for `Experiment.pictures`.

    Args:
      encode: the encoder, `(state, x [N, H, W, C]) -> (top, bottom)`, the codes of the coarse grid and of the fine one.
      decode: the decoder, `(state, top, bottom) -> images [N, H, W, C]` in [0, 1].
      coarse: the decoder of the top alone, `(state, top, bottom) -> images`; `bottom` are codes of many images, of which it
        takes the mean in place of an image's own.
      x: test images. The first 32 are shown.
      count: the number of codes of each level.
      pixels: the values of black and white in x.

    Returns:
      `reconstructions`, where each image has one by its top codes alone and one by both below it; and `code_maps`, with the
      codes of both levels.
    """
    low, high = pixels

    def drawn(state: TrainState, name: str, *below: Array) -> Picture:
        columns, shown = min(16, len(x)), (x[:32] - low) / (high - low)
        if below[0].shape[-1] == 3 != shown.shape[-1]:
            shown = shown[..., :1].repeat(3, axis=-1)
        images = reconstructions(shown, *below, columns=columns)
        return Picture(images, columns, f"Test images; below each, {name}; step {int(state.step):,}")

    def reconstruct(state: TrainState, key: Key) -> Picture:
        top, bottom = encode(state, x)
        few = top[:32], bottom[:32]
        below = coarse(state, few[0], bottom), decode(state, *few)
        return drawn(state, "what its top codes say alone, and its reconstruction by both levels", *below)

    def code_maps(state: TrainState, key: Key) -> Picture:
        size, levels = (x.shape[1], x.shape[2]), encode(state, x[:32])
        sides = " and its ".join(f"{codes.shape[1]}x{codes.shape[2]}" for codes in levels)
        return drawn(state, f"its {sides} codes, a colour for each", *(maps(codes, count, size) for codes in levels))

    return {"reconstructions": reconstruct, "code_maps": code_maps}
