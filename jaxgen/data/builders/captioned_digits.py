"""`captioned_digits`: the bundled digits enlarged, coloured, placed and described in words. No download, no TensorFlow."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data.builders.digits import TRAIN

VARIANTS = 6
"""Pictures that are made of each written digit."""

SIDE = 32

COLOURS = {
    "red": (215, 45, 40),
    "orange": (240, 140, 20),
    "green": (40, 160, 70),
    "blue": (60, 100, 235),
    "purple": (150, 70, 200),
    "pink": (240, 130, 190),
}
SIZES = {"small": 12, "large": 20}
GROUNDS = {"dark": (25, 25, 30), "light": (240, 238, 230)}
# Where the digit's centre lies, as fractions of the room that its size leaves.
POSITIONS = {
    "centre": (0.5, 0.5),
    "top left": (0.0, 0.0),
    "top right": (0.0, 1.0),
    "bottom left": (1.0, 0.0),
    "bottom right": (1.0, 1.0),
}
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "label": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "position": tuple(POSITIONS),
    "ground": tuple(GROUNDS),
}
"""The values of each attribute. A caption names all five, so it is true of a picture only if all five are the picture's."""

TEMPLATES = (
    "a photo of a {size} {colour} {label} at the {position} on a {ground} ground",
    "the digit {label}, {size} and {colour}, at the {position}, {ground} ground",
    "a {ground} picture with a {size} {colour} {label} at the {position}",
    "{position}: a {size} {label} in {colour} on a {ground} ground",
    "someone wrote a {colour} {label} at the {position} of a {ground} page, {size}",
)


def describe(attributes: Mapping[str, str], template: int) -> str:
    """One of the sentences that name all attributes of a picture.

    >>> seven = {"label": "seven", "colour": "orange", "size": "small", "position": "top left", "ground": "dark"}
    >>> describe(seven, 0)
    'a photo of a small orange seven at the top left on a dark ground'
    >>> describe(seven, 4)
    'someone wrote an orange seven at the top left of a dark page, small'
    """
    return re.sub(r"\ba (?=[aeiou])", "an ", TEMPLATES[template].format(**attributes))


class CaptionedDigits(tfds.core.GeneratorBasedBuilder):
    """10,782 coloured pictures of 1,797 written digits, each with a caption and the attributes that it names.

    Attributes, place and words are drawn from the digit's number, so the set is the same wherever it is made. The test split is
    made of the digits in the test split of `digits`, whose writers are mostly others than the train split's.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        labels = {name: tfds.features.ClassLabel(names=values) for name, values in ATTRIBUTES.items()}
        return tfds.core.DatasetInfo(
            builder=self,
            description="scikit-learn's digits in colour, of two sizes, at five places, with captions; 32x32 pixels.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="png"),
                    "caption": tfds.features.Text(),
                    **labels,
                }
            ),
            supervised_keys=("image", "caption"),
            homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        return {"train": self._generate_examples(0, TRAIN), "test": self._generate_examples(TRAIN, None)}

    def _generate_examples(self, start: int, stop: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
        from PIL import Image
        from sklearn.datasets import load_digits

        digits = load_digits()
        for i in range(len(digits.images))[start:stop]:
            for variant in range(VARIANTS):
                rng = np.random.default_rng([i, variant])
                attributes = {name: values[rng.integers(len(values))] for name, values in ATTRIBUTES.items()}
                attributes["label"] = ATTRIBUTES["label"][digits.target[i]]
                # As a PIL image: encoding an array would need TensorFlow.
                image = Image.fromarray(_draw(digits.images[i] / 16, attributes, rng))
                caption = describe(attributes, int(rng.integers(len(TEMPLATES))))
                yield f"{i}-{variant}", {"image": image, "caption": caption, **attributes}


def _draw(ink: np.ndarray, attributes: Mapping[str, str], rng: np.random.Generator) -> np.ndarray:
    """The picture, uint8 `[SIDE, SIDE, 3]`, of an 8x8 digit whose ink is in [0, 1]."""
    from PIL import Image

    size = SIZES[attributes["size"]]
    large = Image.fromarray((ink * 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    room = SIDE - size
    # A pixel or so off its place, and never over the edge.
    top, left = (
        int(np.clip(round(fraction * room) + rng.integers(-1, 2), 0, room)) for fraction in POSITIONS[attributes["position"]]
    )
    opacity = np.zeros((SIDE, SIDE, 1), np.float32)
    opacity[top : top + size, left : left + size, 0] = np.asarray(large, np.float32) / 255
    ground, colour = (np.asarray(rgb, np.float32) for rgb in (GROUNDS[attributes["ground"]], COLOURS[attributes["colour"]]))
    return np.round(ground + opacity * (colour - ground)).astype(np.uint8)
