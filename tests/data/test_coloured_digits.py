"""The digits in inks of any hue: the digits' shapes and labels in the same splits, and hues that say nothing of them."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from jaxgen import data
from jaxgen.analysis import hues
from jaxgen.data.builders import coloured_digits as coloured
from jaxgen.data.builders.digits import TRAIN


@pytest.mark.parametrize(("hue", "colour"), [(0.0, (255, 51, 51)), (1 / 3, (51, 255, 51)), (0.75, (153, 51, 255))])
def test_inks_of_some_hues(hue: float, colour: tuple[float, ...]) -> None:
    np.testing.assert_allclose(coloured.ink_of(hue), colour, atol=1e-9)


@pytest.mark.parametrize(("split", "rows"), [("train", slice(0, TRAIN)), ("test", slice(TRAIN, None))])
def test_the_set_is_that_of_the_digits(split: str, rows: slice) -> None:
    """By the brightest channel in quarters of the side, which the enlargement keeps; TFDS shuffles the examples."""
    digits, source = load_digits(), data.load("coloured_digits", split)
    found = source.gather(np.arange(source.length))
    assert found["image"].shape[1:] == (16, 16, 3)
    coarse = (found["image"].max(-1) / 255).reshape(-1, 4, 4, 4, 4).mean((2, 4)).reshape(source.length, 16)
    theirs = (digits.images[rows] / 16).reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    nearest = np.abs(coarse[:, None] - theirs[None]).max(-1).argmin(1)
    assert len(set(nearest)) > 0.98 * source.length
    np.testing.assert_array_equal(digits.target[rows][nearest], found["label"])
    # Hues are uniform, whatever the digit, and they are those of the pictures.
    assert stats.kstest(found["hue"], "uniform").pvalue > 0.01
    assert stats.f_oneway(*(found["hue"][found["label"] == k] for k in range(10))).pvalue > 0.01
    seen = hues.of_images(found["image"] / 255)
    expected = np.floor(found["hue"] * hues.BINS + 0.5).astype(int) % hues.BINS
    near = np.abs(found["hue"] * hues.BINS % 1 - 0.5) > 0.05  # away from the ends of a part
    np.testing.assert_array_equal(seen[near], expected[near])
