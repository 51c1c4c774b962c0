"""`segmented_digits`: pictures of several bundled digits, and the class of each pixel's colour. No download, no TensorFlow."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders.captioned_digits import COLOURS, GROUNDS
from jaxgen.data.builders.digits import TRAIN

SIDE = 32
CELL = 16
"""The side of a quarter of the picture, in which a digit lies."""

CLASSES = (*GROUNDS, *COLOURS)
"""The classes of a pixel: two grounds and six inks."""

FILLED = 0.75
"""The share of the quarters that have a digit; that of the picture's own number always has."""

SIZES = (11, 16)
"""The smallest and the largest side of a digit."""


class SegmentedDigits(tfds.core.GeneratorBasedBuilder):
    """1,797 pictures of one to four written digits in colour, and for each pixel the class of its ground or its ink.

    The edges of the digits are soft in the picture and hard in the segmentation. Sizes, places, colours and the other digits
    are drawn from the picture's number, so the set is the same wherever it is made. The test split is made of the digits in the
    test split of `digits`, whose writers are mostly others than the train split's.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="scikit-learn's digits in colour, up to four in a picture of 32x32 pixels, segmented.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="png"),
                    "segmentation": tfds.features.Image(shape=(SIDE, SIDE, 1), encoding_format="png"),
                }
            ),
            supervised_keys=("image", "segmentation"),
            homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {"train": self._generate_examples(0, TRAIN), "test": self._generate_examples(TRAIN, None)}

    def _generate_examples(self, start: int, stop: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
        from PIL import Image
        from sklearn.datasets import load_digits

        digits = load_digits()
        split = range(len(digits.images))[start:stop]
        for i in split:
            image, segmentation = _draw(i, split, digits.images / 16)
            # As PIL images: encoding arrays would need TensorFlow.
            yield i, {"image": Image.fromarray(image), "segmentation": Image.fromarray(segmentation)}


def _draw(i: int, split: range, digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture number i, bytes `[SIDE, SIDE, 3]`, and its classes, bytes `[SIDE, SIDE]`."""
    from PIL import Image

    rng = np.random.default_rng(i)
    colours = np.array(list(COLOURS.values()), np.float32)
    grounds = np.array(list(GROUNDS.values()), np.float32)
    ground = rng.integers(len(grounds))
    picture = np.broadcast_to(grounds[ground], (SIDE, SIDE, 3)).copy()
    segmentation = np.full((SIDE, SIDE), ground, np.uint8)
    own = rng.integers(4)
    for quarter in range(4):
        digit = i if quarter == own else int(rng.choice(split))
        filled = quarter == own or rng.random() < FILLED
        size = int(rng.integers(SIZES[0], SIZES[1] + 1))
        top, left = (CELL * at + int(rng.integers(CELL - size + 1)) for at in divmod(quarter, 2))
        ink = rng.integers(len(colours))
        if filled:
            drawn = Image.fromarray((digits[digit] * 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
            opacity = np.asarray(drawn, np.float32) / 255
            place = np.s_[top : top + size, left : left + size]
            picture[place] += opacity[..., None] * (colours[ink] - picture[place])
            segmentation[place] = np.where(opacity > 0.5, len(grounds) + ink, ground)
    return np.round(picture).astype(np.uint8), segmentation
