"""Codes of images whose factors of variation are known: which latent follows which factor, as a picture."""

import functools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen import data, progress
from jaxgen.analysis import latent_space, units
from jaxgen.analysis.latent_model import LatentModel
from jaxgen.errors import UserError
from jaxgen.game import TrainState
from jaxgen.pictures import Picture
from jaxgen.progress import Track
from jaxgen.types import Key

IMAGES = 5000
"""Images at most by which the information in a latent is estimated for the picture."""

STEPS = 11
"""Images in a row, from -3 to 3."""


def over(
    source: data.Source,
    space: LatentModel,
    state: TrainState,
    transform: data.Transform,
    track: Track,
    names: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """The codes of all images of a set, and the values of the images' factors.

    Args:
      source: images with their factors.
      space: the latent model.
      state: the state.
      transform: the transform of the images.
      track: a function that shows the progress.
      names: the factors, which are label features of the source.

    Returns:
      The codes `[N, L]` and the numbers of the values `[N, k]`.

    Raises:
      UserError: if a factor has the same value in all images.
    """
    assert space.encode is not None, "factors are looked for in codes"
    codes, values = units.over(source, space.encode, state, transform, track, names)
    for name, column in zip(names, values.T, strict=True):
        if (column == column[0]).all():
            raise UserError(f"All images of {source.name} have the same {name!r}, which no latent can follow; leave it out.")
    return codes, values


def rows(information: Float[np.ndarray, "d k"]) -> list[int]:
    """The latent of each row of a picture: for each factor the one that has most information about it.

    >>> rows(np.array([[0.9, 0.1], [0.2, 0.3], [0.1, 0.2]]))
    [0, 1]
    """
    return [int(d) for d in information.argmax(0)]


def squares(values: Float[np.ndarray, " k"], image: tuple[int, ...]) -> Float[Array, "k h w c"]:
    """Images of one brightness each: white for 1, black for 0.

    >>> squares(np.array([0.0, 0.5]), (1, 2, 1)).ravel().tolist()
    [0.0, 0.0, 0.5, 0.5]
    """
    return jnp.broadcast_to(jnp.asarray(values, jnp.float32).reshape(-1, 1, 1, 1), (len(values), *image))


def album(
    space: LatentModel,
    source: data.Source,
    names: Sequence[str],
    transform: data.Transform,
    information: Callable[[np.ndarray, np.ndarray], Float[np.ndarray, "d k"]],
) -> dict[str, Callable[[TrainState, Key], Picture]]:
    """The picture of the latents that follow factors, for `Experiment.pictures`.

    Args:
      space: the latent model.
      source: images with their factors.
      names: the factors, which are label features of the source.
      transform: the transform of the images.
      information: the information of each latent about each factor in [0, 1], of codes `[n, d]` and factors `[n, k]`.

    Returns:
      `factors`: a row for each factor, in which the latent that has most information about it goes from -3 to 3 while the
      others stay as an image has them. Right of it there is a square for each factor, in the same order, as bright as the share
      of the factor's entropy that this latent gives.
    """
    some = data.take(source, np.linspace(0, source.length - 1, min(source.length, IMAGES)).astype(np.int64))

    def follow(state: TrainState, key: Key) -> Picture:
        codes, values = over(some, space, state, transform, functools.partial(progress.track, quiet=True), names)
        shares = np.clip(information(codes, values), 0.0, 1.0)
        moved, lines = rows(shares), []
        for latent in moved:
            walk = latent_space.traversals(lambda z: space.decode(state, z), jnp.asarray(codes[0]), [latent], steps=STEPS)
            lines.append(jnp.concatenate([walk, squares(shares[latent], walk.shape[1:])]))
        told = ", ".join(
            f"{name} by z{latent} ({shares[latent, j]:.2f})" for j, (name, latent) in enumerate(zip(names, moved, strict=True))
        )
        caption = (
            f"The latent with most information about each factor, from -3 to 3: {told}; right of it the shares of "
            f"{', '.join(names)} that it has, white for 1; step {int(state.step):,}"
        )
        return Picture(jnp.concatenate(lines), STEPS + len(names), caption)

    return {"factors": follow}
