"""`digits`: UCI's optical recognition of handwritten digits, 8x8, as scikit-learn bundles it. No download, no TensorFlow."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

TRAIN = 1437
"""Examples before this one are the train split, the other 360 the test split.

Neighbours are by the same writer, so a split by position keeps most test writers out of the training set; a shuffled split
would not.
"""


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 grey images of 13 writers' digits; the 17 grey levels are spread over 0 to 255."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="The test set of UCI's optdigits as scikit-learn bundles it, 8x8 pixels.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
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
            pixels = np.round(digits.images[i] * (255 / 16)).astype(np.uint8)
            # As a PIL image: encoding an array would need TensorFlow.
            yield i, {"image": Image.fromarray(pixels), "label": int(digits.target[i])}
