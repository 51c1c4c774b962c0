"""`coloured_digits`: the bundled digits in an ink of any hue on black. No download, no TensorFlow."""

import colorsys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders.chalk_digits import SIDE, drawn_in
from jaxgen.data.builders.digits import TRAIN

SATURATION = 0.8
GROUND = (0, 0, 0)


class ColouredDigits(tfds.core.GeneratorBasedBuilder):
    """1,797 written digits on black, each in an ink whose hue is drawn uniformly from its number, enlarged to 16x16 pixels.

    They are the examples of `digits` in the same splits. What a digit looks like is known to be two things that have nothing to
    do with each other: its shape, which a grey digit has too, and its hue, which a grey digit says nothing of.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="scikit-learn's digits in inks of all hues, 16x16 pixels.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                    "hue": tfds.features.Scalar(np.float32),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {"train": self._generate_examples(0, TRAIN), "test": self._generate_examples(TRAIN, None)}

    def _generate_examples(self, start: int, stop: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
        from PIL import Image
        from sklearn.datasets import load_digits

        digits = load_digits()
        for i in range(len(digits.images))[start:stop]:
            hue = float(np.random.default_rng(i).uniform())
            image = drawn_in(digits.images[i] / 16, ink_of(hue), GROUND)
            # As a PIL image: encoding an array would need TensorFlow.
            yield i, {"image": Image.fromarray(image), "label": int(digits.target[i]), "hue": np.float32(hue)}


def ink_of(hue: float) -> tuple[float, ...]:
    """The brightest colour of a hue, from 0 (red) over 1/3 (green) and 2/3 (blue) to 1 (red again), in 0 to 255."""
    return tuple(255 * part for part in colorsys.hsv_to_rgb(hue, SATURATION, 1.0))
