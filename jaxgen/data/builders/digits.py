"""`digits`: UCI's optical recognition of handwritten digits, 8x8, as scikit-learn bundles it. No download, no TensorFlow."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

TRAIN = 1437
"""Examples before this one are the train split, the other 360 the test split.

Neighbours are by the same writer, so a split by position keeps most test writers out of the training set; a shuffled split
would not.
"""


class DrawnDigits(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The 1,797 written digits with their classes, as a subclass draws them; the splits are the same in all.

    `SHAPE` is the shape (H, W, C) of an image, `TOLD` the description of the set, and `FEATURES` what its examples have in
    addition to image and label.
    """

    VERSION = tfds.core.Version("1.0.0")
    SHAPE: ClassVar[tuple[int, int, int]]
    TOLD: ClassVar[str]
    FEATURES: ClassVar[dict[str, Any]] = {}

    def draw(self, i: int, ink: np.ndarray) -> dict[str, Any]:
        """The image of an example, and its other features but the label.

        Args:
          i: the number of the example.
          ink: the digit, `[8, 8]` in [0, 1].

        Returns:
          `image`, bytes, and `FEATURES`.
        """
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=self.SHAPE, encoding_format="png")
        label = tfds.features.ClassLabel(num_classes=10)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.TOLD,
            features=tfds.features.FeaturesDict({"image": image, "label": label, **self.FEATURES}),
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
            drawn = self.draw(i, digits.images[i] / 16)
            # As a PIL image: encoding an array would need TensorFlow.
            yield i, {**drawn, "image": Image.fromarray(drawn["image"]), "label": int(digits.target[i])}


class Digits(DrawnDigits):
    """1,797 grey images of 13 writers' digits; the 17 grey levels are spread over 0 to 255."""

    SHAPE = (8, 8, 1)
    TOLD = "The test set of UCI's optdigits as scikit-learn bundles it, 8x8 pixels."

    def draw(self, i: int, ink: np.ndarray) -> dict[str, Any]:
        """The digit in grey."""
        return {"image": np.round(ink * 255).astype(np.uint8)}
