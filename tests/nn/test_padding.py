"""Padding against numpy's."""

import numpy as np
import pytest
from parameters import normal

from jaxgen.errors import SizeError
from jaxgen.nn import reflect_pad
from jaxgen.nn.padding import pixels


@pytest.mark.parametrize(("padding", "pads"), [(2, ((2, 2), (2, 2))), (((1, 0), (0, 3)), ((1, 0), (0, 3)))])
def test_reflected_borders_are_numpys(padding, pads) -> None:
    x = normal(2, 4, 5, 3)
    np.testing.assert_array_equal(reflect_pad(x, padding), np.pad(x, ((0, 0), *pads, (0, 0)), mode="reflect"))


def test_a_border_as_wide_as_the_images_is_refused() -> None:
    with pytest.raises(SizeError, match="Images of 3x8 cannot be reflected"):
        reflect_pad(normal(1, 3, 8, 1), 3)


def test_pixels_by_convention() -> None:
    assert pixels("SAME", (7, 8), (4, 3), (2, 2)) == ((1, 2), (0, 1))
    assert pixels("SAME", (7, 8), (3, 3), (1, 1), (2, 3)) == ((2, 2), (3, 3))
    assert pixels("VALID", (7, 8), (4, 3), (2, 2)) == pixels(0, (7, 8), (4, 3), (2, 2)) == ((0, 0), (0, 0))
    assert pixels(((1, -1), (0, 2)), (7, 8), (4, 3), (2, 2)) == ((1, -1), (0, 2))
