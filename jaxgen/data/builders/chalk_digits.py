"""`chalk_digits`: the bundled digits as if written in yellow chalk on a green board. No download, no TensorFlow."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgen.data.builders.digits import DrawnDigits

SIDE = 16
BOARD = (28, 84, 60)
CHALK = (250, 224, 130)


class ChalkDigits(DrawnDigits):
    """1,797 written digits in yellow chalk on a green board, enlarged to 16x16 pixels.

    They are the examples of `digits` in other colours, in the same splits: a second domain of images for translations, whose
    right answer is known.
    """

    SHAPE = (SIDE, SIDE, 3)
    TOLD = "scikit-learn's digits in chalk on a board, 16x16 pixels."

    def draw(self, i: int, ink: np.ndarray) -> dict[str, Any]:
        """The digit in chalk."""
        return {"image": chalked(ink)}


def chalked(opacity: np.ndarray) -> np.ndarray:
    """An 8x8 digit, whose opacity is in [0, 1], on the board: bytes `[SIDE, SIDE, 3]`."""
    return drawn_in(opacity, CHALK, BOARD)


def drawn_in(opacity: np.ndarray, ink: Sequence[float], ground: Sequence[float]) -> np.ndarray:
    """An 8x8 digit, whose opacity is in [0, 1], in one colour on another, enlarged: bytes `[SIDE, SIDE, 3]`."""
    from PIL import Image

    large = Image.fromarray(np.round(opacity * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    below, above = (np.asarray(colour, np.float32) for colour in (ground, ink))
    return np.round(below + np.asarray(large, np.float32)[..., None] / 255 * (above - below)).astype(np.uint8)
