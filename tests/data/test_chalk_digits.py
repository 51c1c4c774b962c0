"""The digits in chalk: the same digits with the same labels in the same splits, in other colours."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxgen import data
from jaxgen.data.builders import chalk_digits as chalk
from jaxgen.data.builders.digits import TRAIN


def test_board_and_chalk_have_their_colours() -> None:
    for opacity, colour in ((0.0, chalk.BOARD), (1.0, chalk.CHALK)):
        np.testing.assert_array_equal(chalk.chalked(np.full((8, 8), opacity)), np.broadcast_to(colour, (16, 16, 3)))


@pytest.mark.parametrize(("split", "rows"), [("train", slice(0, TRAIN)), ("test", slice(TRAIN, None))])
def test_the_set_is_that_of_the_digits(split: str, rows: slice) -> None:
    """By the opacity of quarters of the side, which the enlargement keeps; TFDS shuffles the examples."""
    digits, source = load_digits(), data.load("chalk_digits", split)
    found = source.gather(np.arange(source.length))
    assert found["image"].shape[1:] == (16, 16, 3)
    board, full = (np.array(colour, np.float64) for colour in (chalk.BOARD, chalk.CHALK))
    opacity = ((found["image"] - board) @ (full - board)) / ((full - board) @ (full - board))
    coarse = opacity.reshape(-1, 4, 4, 4, 4).mean((2, 4)).reshape(source.length, 16)
    theirs = (digits.images[rows] / 16).reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    assert len(theirs) == source.length
    distance = np.abs(coarse[:, None] - theirs[None]).max(-1)
    nearest = distance.argmin(1)
    assert len(set(nearest)) > 0.98 * source.length
    np.testing.assert_array_equal(digits.target[rows][nearest], found["label"])


def test_grey_images_become_colour_and_colour_stays() -> None:
    grey = data.load("digits", "test")
    both = [data.in_colour(source) for source in (grey, data.load("chalk_digits", "test"))]
    assert [source.shape("image") for source in both] == [(8, 8, 3), (16, 16, 3)]
    rows = np.arange(5)
    np.testing.assert_array_equal(both[0].gather(rows)["image"], np.broadcast_to(grey.gather(rows)["image"], (5, 8, 8, 3)))
    assert both[0].fingerprint != grey.fingerprint
    assert both[0].classes == grey.classes
