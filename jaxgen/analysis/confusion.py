"""Confusion matrices of a classifier as pictures: an example image for each pair of a class and an answer."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped

from jaxgen.data import Source
from jaxgen.game import TrainState
from jaxgen.pictures import Picture
from jaxgen.types import Array, Key

LOOKED_AT = 10_000
"""Images, at most, among which those of a picture are found."""

SHOWN = 20
"""Classes of a picture, at most."""


def confusions(
    images: Float[np.ndarray, "n h w c"], label: Int[np.ndarray, " n"], p: Shaped[np.ndarray, "n k"], *, classes: int
) -> Float[np.ndarray, "m h w c"]:
    """A confusion matrix of images: the row is the class, the column what it is taken for.

    Off the diagonal stands the surest mistake, on it the right answer that was least sure. White is where there is none.

    Args:
      images: the images, in [0, 1].
      label: the classes of the images.
      p: probabilities, or anything that grows with them.
      classes: the number of classes to show, from the first on, k at most.

    Returns:
      `[classes * classes, H, W, C]`, row by row.
    """
    guess = p.argmax(1)
    sure = p.max(1)
    cells = np.ones((classes, classes, *images.shape[1:]), np.float32)
    for i in range(classes):
        for j in range(classes):
            (there,) = np.nonzero((label == i) & (guess == j))
            if len(there):
                cells[i, j] = images[there[sure[there].argmin() if i == j else sure[there].argmax()]]
    return cells.reshape(-1, *images.shape[1:])


def confusion_picture(
    test: Source, logits: Callable[[TrainState, Array], Array], *, classes: int, told: str = "Held-out images"
) -> Callable[[TrainState, Key], Picture]:
    """The picture of a classifier's confusions on a set of labelled images, for `Experiment.pictures`.

    Args:
      test: images with their classes.
      logits: the classifier, `logits(state, images [n, H, W, C]) -> [n, classes]` of pixels in [0, 1].
      classes: the number of classes.
      told: the words for the images, with which the caption begins.

    Returns:
      A function of a state and a key.
    """

    @jax.jit
    def probabilities(state: TrainState, images: Array) -> Array:
        return jax.nn.softmax(logits(state, images.astype(jnp.float32) / 255))

    def picture(state: TrainState, key: Key) -> Picture:
        parts = [test.gather(np.arange(i, min(i + 1000, test.length))) for i in range(0, min(test.length, LOOKED_AT), 1000)]
        p = np.concatenate([np.asarray(probabilities(state, part["image"])) for part in parts])
        images, label = (np.concatenate([part[feature] for part in parts]) for feature in ("image", "label"))
        shown = min(classes, SHOWN)
        cells = confusions(images.astype(np.float32) / 255, label, p, classes=shown)
        wrong = int((p.argmax(1) != label).sum())
        caption = (
            f"{told}, {wrong:,} of {len(label):,} taken for another class. Row: the class; column: what it is taken "
            f"for. Off the diagonal the surest mistake, on it the right answer that was least sure; step {int(state.step):,}"
        )
        return Picture(cells, shown, caption)

    return picture
