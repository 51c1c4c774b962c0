"""`slanted_digits`: the bundled digits as if by people who write aslant. No download, no TensorFlow."""

from typing import Any

import numpy as np

from jaxgen.data.builders.digits import DrawnDigits

SIDE = 16
SLANT = 0.4
"""Pixels by which a row of the digit is moved to the right of the row below it."""


class SlantedDigits(DrawnDigits):
    """1,797 written digits, enlarged to 16x16 pixels and slanted to the right.

    They are the examples of `digits` in the same splits: a second domain of the same classes, in which a classifier of the
    first errs more often.
    """

    SHAPE = (SIDE, SIDE, 1)
    TOLD = "scikit-learn's digits, slanted, 16x16 pixels."

    def draw(self, i: int, ink: np.ndarray) -> dict[str, Any]:
        """The digit aslant."""
        return {"image": slanted(ink)}


def slanted(ink: np.ndarray) -> np.ndarray:
    """An 8x8 digit, whose ink is in [0, 1], enlarged and slanted about its centre: bytes `[SIDE, SIDE]`."""
    from PIL import Image

    large = Image.fromarray(np.round(ink * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    # The matrix gives the place in the upright digit that each pixel is taken from.
    upright = (1, SLANT, -SLANT * (SIDE - 1) / 2, 0, 1, 0)
    return np.asarray(large.transform((SIDE, SIDE), Image.Transform.AFFINE, upright, Image.Resampling.BICUBIC))
