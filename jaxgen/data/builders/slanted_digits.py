"""`slanted_digits`: the bundled digits as if by people who write aslant. No download, no TensorFlow."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders.digits import TRAIN

SIDE = 16
SLANT = 0.4
"""Pixels by which a row of the digit is moved to the right of the row below it."""


class SlantedDigits(tfds.core.GeneratorBasedBuilder):
    """1,797 written digits, enlarged to 16x16 pixels and slanted to the right.

    They are the examples of `digits` in the same splits: a second domain of the same classes, in which a classifier of the
    first errs more often.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="scikit-learn's digits, slanted, 16x16 pixels.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIDE, SIDE, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
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
            # As a PIL image: encoding an array would need TensorFlow.
            yield i, {"image": Image.fromarray(slanted(digits.images[i] / 16)), "label": int(digits.target[i])}


def slanted(ink: np.ndarray) -> np.ndarray:
    """An 8x8 digit, whose ink is in [0, 1], enlarged and slanted about its centre: bytes `[SIDE, SIDE]`."""
    from PIL import Image

    large = Image.fromarray(np.round(ink * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    # The matrix gives the place in the upright digit that each pixel is taken from.
    upright = (1, SLANT, -SLANT * (SIDE - 1) / 2, 0, 1, 0)
    return np.asarray(large.transform((SIDE, SIDE), Image.Transform.AFFINE, upright, Image.Resampling.BICUBIC))
