"""Hues by the angle of the mean colour, against Python's own, and the entropy of their shares."""

import colorsys

import numpy as np
import pytest
from scipy import stats

from jaxgen.analysis import hues
from jaxgen.errors import InputError


def test_pure_hues_lie_where_python_has_them() -> None:
    """The hue of HSV is another angle than that of the plane of hues between multiples of 60 degrees, by up to 1.1 degrees."""
    for part in range(12):
        for off in (-13, 0, 13):
            image = np.broadcast_to(colorsys.hsv_to_rgb((30 * part + off) / 360 % 1, 0.6, 0.9), (3, 2, 3))
            assert hues.of_images(image) == part


@pytest.mark.parametrize(("bins", "part"), [(6, 2), (12, 4), (36, 12)])
def test_green_is_a_third_of_the_circle_away_from_red(bins: int, part: int) -> None:
    green = np.broadcast_to([0.2, 0.7, 0.2], (5, 4, 4, 3))
    assert hues.of_images(green, bins=bins).tolist() == [part] * 5


def test_the_mean_colour_counts_and_grey_has_a_part_of_its_own() -> None:
    image = np.zeros((2, 2, 3))
    image[0, 0, 0] = 0.09  # a quarter of the pixels, of red
    assert hues.of_images(image) == 0
    image[0, 0, 0] = 0.07
    assert hues.of_images(image) == hues.BINS
    assert hues.of_images(image, grey=0.01) == 0
    image[0, 0] = (0.5, 0.0, 0.0)
    image[1, 1] = (0.0, 0.5, 0.5)  # the opposite
    assert hues.of_images(image) == hues.BINS


def test_images_without_colour_are_refused() -> None:
    with pytest.raises(InputError, match="Images of 1 channels have no hues; give three"):
        hues.of_images(np.zeros((2, 4, 4, 1)))


def test_the_entropy_of_shares_is_scipys() -> None:
    parts = np.random.default_rng(0).integers(0, 13, (50, 20))
    expected = [stats.entropy(np.bincount(row, minlength=13), base=2) for row in parts]
    np.testing.assert_allclose(hues.entropy(parts), expected, rtol=1e-9)
    assert hues.entropy(np.full((2, 5), 12)).tolist() == [0.0, 0.0]
