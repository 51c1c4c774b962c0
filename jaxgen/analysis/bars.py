"""Numbers as bars, where a picture needs no axis."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def bars(values: Sequence[float], *, width: int = 96, height: int = 6, gap: int = 2) -> Float[np.ndarray, "one h w 1"]:
    """An image of a bar for each value, one below the other; the longest fills the width.

    Args:
      values: the values, zero or more.
      width: pixels of the longest bar.
      height: pixels of a bar's height.
      gap: white pixels between bars.

    Returns:
      The image, black on white.

    >>> bars([1.0, 2.0], width=4, height=1, gap=0)[0, :, :, 0].tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    most = max(max(values), 1e-12)
    image = np.ones((len(values) * (height + gap) - gap, width, 1), np.float32)
    for i, value in enumerate(values):
        top = i * (height + gap)
        image[top : top + height, : round(width * value / most)] = 0
    return image[None]
