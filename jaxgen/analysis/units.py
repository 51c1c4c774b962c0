"""The units of an autoencoder with one layer: their values over a set of labelled images, and their weights as pictures."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen import data
from jaxgen.game import TrainState
from jaxgen.progress import Track

CHUNK = 500
"""Images that are encoded at a time."""
MOST = 200
"""Units that are shown, at most."""


def over(
    source: data.Source,
    encode: Callable[[TrainState, Array], Array],
    state: TrainState,
    transform: data.Transform,
    track: Track,
    label: str | Sequence[str] = "label",
) -> tuple[np.ndarray, np.ndarray]:
    """The units of all images of a set, and the images' classes.

    Args:
      source: images with a label.
      encode: the encoder, `(state, x [B, H, W, C]) -> z [B, M]`.
      state: the state.
      transform: the transform of the images.
      track: a function that shows the progress.
      label: the name of the feature that has the classes, or the names of k features.

    Returns:
      The units `[N, M]`, and the labels, `[N]` or `[N, k]`.
    """
    reader = data.in_order(source, CHUNK)
    found, labels = [], []
    for batch in track(reader, description=f"encoding {source.name}", total=len(reader)):
        ready = data.apply_transform(transform, batch, jax.random.key(0), batch["index"])
        found.append(np.asarray(encode(state, ready["image"])))
        labels.append(batch[label] if isinstance(label, str) else np.stack([batch[name] for name in label], -1))
    return np.concatenate(found)[: source.length], np.concatenate(labels)[: source.length]


def of_both(
    train: data.Source,
    test: data.Source,
    encode: Callable[[TrainState, Array], Array],
    state: TrainState,
    transform: data.Transform,
    track: Track,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None:
    """The units of both splits with their classes, for a classifier; None if labels are withheld or show a single class.

    Args:
      train: the images that a classifier learns from.
      test: the images that it is tested on.
      encode: the encoder, as `over` takes it.
      state: the state.
      transform: the transform of the images.
      track: a function that shows the progress.

    Returns:
      The units and labels of the training images, and those of the test images.
    """
    known, (features, labels) = (over(source, encode, state, transform, track) for source in (train, test))
    withheld = min(known[1].min(), labels.min()) < 0
    return None if withheld or len(np.unique(known[1])) < 2 else (known, (features, labels))


def filters(
    kernel: Float[Array, "d m"], activity: Float[Array, " m"], image: tuple[int, int, int]
) -> tuple[Float[Array, "n h w c"], int]:
    """The weights of the most active units as images: zero is grey, and each unit has a scale of its own.

    Args:
      kernel: the weights, a column for each unit.
      activity: the activity of each unit.
      image: the shape (H, W, C) of an image.

    Returns:
      The images, the most active unit first, and the number of them in a row of a picture.

    >>> images, columns = filters(jnp.array([[1.0, -2.0], [0.0, 1.0]]), jnp.array([0.1, 0.7]), (1, 2, 1))
    >>> images.squeeze().tolist(), columns
    ([[0.0, 0.75], [1.0, 0.5]], 2)
    """
    columns = min(20, kernel.shape[1])
    first = jnp.argsort(-activity)[: min(kernel.shape[1], MOST) // columns * columns]
    weights = kernel.T[first]
    bright = 0.5 + 0.5 * weights / jnp.maximum(abs(weights).max(1, keepdims=True), 1e-12)
    return bright.reshape(-1, *image), columns
