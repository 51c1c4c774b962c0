"""Pictures of images that are drawn at several resolutions."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.game import TrainState
from jaxgen.nn import BOX, doubled, halved
from jaxgen.pictures import Picture
from jaxgen.types import Key


def enlarged(x: Float[Array, "n h w c"], side: int) -> Float[Array, "n h2 w2 c"]:
    """Images enlarged by repeating pixels, until the height is this many.

    >>> enlarged(jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1), 2)[0, :, :, 0].tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """
    while x.shape[1] < side:
        x = doubled(x, BOX)
    return x


def album(
    draw: Callable[[TrainState, Array], tuple[Array, ...]],
    x: Float[Array, "n h w c"],
    *,
    pixels: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Callable[[TrainState, Key], Picture]]:
    """The picture of images at several resolutions, for `Experiment.pictures`.

    Args:
      draw: the images that a model draws, `(state, x) -> images [N, h, w, C]` in [0, 1] of doubling sides, the smallest first.
      x: test images, of which the first 16 are shown.
      pixels: the values of black and white in x.

    Returns:
      `scales`: for each side, the smallest first, the test images' means and what is drawn of them below.
    """
    low, high = pixels
    x = x[:16]

    def scales(state: TrainState, key: Key) -> Picture:
        drawn = draw(state, x)
        targets = [(x - low) / (high - low)]
        for _ in drawn[1:]:
            targets.append(halved(targets[-1], BOX))
        rows = [enlarged(one, x.shape[1]) for pair in zip(reversed(targets), drawn, strict=True) for one in pair]
        sides = ", ".join(f"{one.shape[1]}x{one.shape[2]}" for one in drawn)
        caption = f"Test images at {sides} pixels, each with what is drawn of it below; step {int(state.step):,}"
        return Picture(jnp.concatenate(rows), len(x), caption)

    return {"scales": scales}
