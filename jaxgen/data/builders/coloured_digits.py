"""`coloured_digits`: the bundled digits in an ink of any hue on black. No download, no TensorFlow."""

import colorsys
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders.chalk_digits import SIDE, drawn_in
from jaxgen.data.builders.digits import DrawnDigits

SATURATION = 0.8
GROUND = (0, 0, 0)


class ColouredDigits(DrawnDigits):
    """1,797 written digits on black, each in an ink whose hue is drawn uniformly from its number, enlarged to 16x16 pixels.

    They are the examples of `digits` in the same splits. What a digit looks like is known to be two things that have nothing to
    do with each other: its shape, which a grey digit has too, and its hue, which a grey digit says nothing of.
    """

    SHAPE = (SIDE, SIDE, 3)
    TOLD = "scikit-learn's digits in inks of all hues, 16x16 pixels."
    FEATURES: ClassVar[dict[str, Any]] = {"hue": tfds.features.Scalar(np.float32)}

    def draw(self, i: int, ink: np.ndarray) -> dict[str, Any]:
        """The digit in an ink of a hue that is drawn."""
        hue = float(np.random.default_rng(i).uniform())
        return {"image": drawn_in(ink, ink_of(hue), GROUND), "hue": np.float32(hue)}


def ink_of(hue: float) -> tuple[float, ...]:
    """The brightest colour of a hue, from 0 (red) over 1/3 (green) and 2/3 (blue) to 1 (red again), in 0 to 255."""
    return tuple(255 * part for part in colorsys.hsv_to_rgb(hue, SATURATION, 1.0))
