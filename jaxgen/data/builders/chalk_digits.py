"""`chalk_digits`: the bundled digits as if written in yellow chalk on a green board. No download, no TensorFlow."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders.digits import TRAIN

SIDE = 16
BOARD = (28, 84, 60)
CHALK = (250, 224, 130)


class ChalkDigits(tfds.core.GeneratorBasedBuilder):
    """1,797 written digits in yellow chalk on a green board, enlarged to 16x16 pixels.

    They are the examples of `digits` in other colours, in the same splits: a second domain of images for translations, whose
    right answer is known.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="scikit-learn's digits in chalk on a board, 16x16 pixels.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="png"),
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
            yield i, {"image": Image.fromarray(chalked(digits.images[i] / 16)), "label": int(digits.target[i])}


def chalked(opacity: np.ndarray) -> np.ndarray:
    """An 8x8 digit, whose opacity is in [0, 1], on the board: bytes `[SIDE, SIDE, 3]`."""
    return drawn_in(opacity, CHALK, BOARD)


def drawn_in(opacity: np.ndarray, ink: Sequence[float], ground: Sequence[float]) -> np.ndarray:
    """An 8x8 digit, whose opacity is in [0, 1], in one colour on another, enlarged: bytes `[SIDE, SIDE, 3]`."""
    from PIL import Image

    large = Image.fromarray(np.round(opacity * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    below, above = (np.asarray(colour, np.float32) for colour in (ground, ink))
    return np.round(below + np.asarray(large, np.float32)[..., None] / 255 * (above - below)).astype(np.uint8)
