"""The slanted digits: the same digits with the same labels in the same splits, rows moved against one another."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxgen import data
from jaxgen.data.builders import slanted_digits as slanted
from jaxgen.data.builders.digits import TRAIN


def test_an_upright_line_leans_to_the_right_about_its_middle() -> None:
    ink = np.zeros((8, 8))
    ink[:, 3:5] = 1
    image = slanted.slanted(ink).astype(np.float64)
    assert image.shape == (16, 16)
    columns = (image * np.arange(16)).sum(1) / image.sum(1)
    np.testing.assert_allclose(columns, 7.5 + slanted.SLANT * (7.5 - np.arange(16)), atol=0.35)
    assert not slanted.slanted(np.zeros((8, 8))).any()


@pytest.mark.parametrize(("split", "rows"), [("train", slice(0, TRAIN)), ("test", slice(TRAIN, None))])
def test_the_set_is_that_of_the_digits(split: str, rows: slice) -> None:
    """By the ink of each row, which no slant changes much; TFDS shuffles the examples."""
    digits, source = load_digits(), data.load("slanted_digits", split)
    found = source.gather(np.arange(source.length))
    assert source.length == len(digits.images[rows])
    assert source.classes["label"] == data.load("digits", split).classes["label"]
    made = np.stack([slanted.slanted(image / 16) for image in digits.images[rows]])
    by_image = {image.tobytes(): label for image, label in zip(made, digits.target[rows], strict=True)}
    assert [by_image[image[..., 0].tobytes()] for image in found["image"]] == found["label"].tolist()
