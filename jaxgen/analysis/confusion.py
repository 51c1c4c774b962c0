"""Confusion matrices of a classifier as pictures: an example image for each pair of a class and an answer."""

import numpy as np
from jaxtyping import Float, Int, Shaped


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
