"""Interpolation: exact on what a rule is exact on, and scipy's where it has the rule."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from parameters import normal

from jaxgen.nn import bicubic, bicubic_antialiased, bilinear, bilinear_between_corners, interpolate

RULES = [bilinear, bilinear_between_corners, bicubic, bicubic_antialiased]


@pytest.mark.parametrize("rule", RULES)
def test_the_same_size_changes_nothing_and_a_constant_stays_one(rule) -> None:
    x = normal(2, 3, 5, 4)
    np.testing.assert_allclose(interpolate(x, (3, 5), rule), x, atol=1e-6)
    for old, new in ((3, 7), (7, 3), (1, 4), (4, 1), (5, 6)):
        np.testing.assert_allclose(rule(old, new).sum(1), 1, atol=1e-12)
        assert rule(old, new).shape == (new, old)


@pytest.mark.parametrize("rule", RULES)
def test_both_axes_are_interpolated_in_their_order(rule) -> None:
    x = normal(2, 3, 5, 4)
    rows = np.einsum("Hh,bhwc->bHwc", rule(3, 4), x)
    np.testing.assert_allclose(interpolate(x, (4, 7), rule), np.einsum("Ww,bHwc->bHWc", rule(5, 7), rows), atol=1e-5)
    np.testing.assert_allclose(interpolate(x[0], (4, 7), rule), interpolate(x, (4, 7), rule)[0], atol=1e-6)


@pytest.mark.parametrize("rule", [bilinear, bicubic_antialiased])
def test_a_line_stays_a_line_in_the_middle(rule) -> None:
    # The new pixels' centres on the line, away from the edges.
    line = jnp.arange(16.0).reshape(1, 16, 1)
    centres = (np.arange(24) + 0.5) * 16 / 24 - 0.5
    np.testing.assert_allclose(interpolate(line, (1, 24), rule)[0, 4:-4, 0], centres[4:-4], atol=1e-5)


@pytest.mark.parametrize("size", [(4, 9), (9, 4), (3, 3), (6, 5)])
def test_between_corners_it_is_scipys(size: tuple[int, int]) -> None:
    x = normal(6, 5, 2)
    expected = scipy.ndimage.zoom(np.asarray(x, np.float64), (size[0] / 6, size[1] / 5, 1), order=1)
    np.testing.assert_allclose(interpolate(x, size, bilinear_between_corners), expected, atol=1e-5)
