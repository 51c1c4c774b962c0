"""The pyramids of images against numpy."""

import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.models.diffusion import ResidualPyramid, SkipPyramid
from jaxgen.nn import BINOMIAL, BOX

TAPS = {"box": BOX, "binomial": BINOMIAL}


def windows(x: np.ndarray, size: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))


def filtered(x: np.ndarray, taps: tuple[float, ...], pad: int) -> np.ndarray:
    k = np.asarray(taps) / sum(taps)
    x = np.pad(np.asarray(x, np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return np.einsum("bhwcij,i,j->bhwc", windows(x, len(k)), k, k)


@pytest.mark.parametrize("taps", TAPS)
def test_the_residual_pyramid_filters_and_then_convolves_with_stride_two(taps: str) -> None:
    """The other order of the two, which is the same: zeros lie around the image and not around what lies between."""
    x, h = normal(2, 6, 8, 3), normal(2, 3, 4, 5, seed=1)
    layer = ResidualPyramid(TAPS[taps])
    variables = filled(layer, x, h)
    p = variables["params"]["Conv_0"]
    # The support of both together, n + 2 taps, has its middle two over the pixels 2i and 2i + 1.
    between = filtered(x, TAPS[taps], pad=1 + (len(TAPS[taps]) - 2) // 2)
    y = np.einsum("bhwcij,ijco->bhwo", windows(between, 3), np.asarray(p["kernel"], np.float64))[:, ::2, ::2]
    expected = (np.asarray(h) + y + np.asarray(p["bias"])) / np.sqrt(2)
    pyramid, found = layer.apply(variables, x, h)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(pyramid, found)
    assert ResidualPyramid(TAPS[taps], scale=1.0).apply(variables, x, h)[1] == pytest.approx(expected * np.sqrt(2), abs=1e-4)


@pytest.mark.parametrize("taps", TAPS)
def test_the_skip_pyramid_adds_the_small_image(taps: str) -> None:
    x, h = normal(2, 6, 8, 3), normal(2, 3, 4, 5, seed=1)
    layer = SkipPyramid(TAPS[taps])
    variables = filled(layer, x, h)
    p = variables["params"]["Conv_0"]
    small = filtered(x, TAPS[taps], pad=(len(TAPS[taps]) - 2) // 2)[:, ::2, ::2]
    pyramid, found = layer.apply(variables, x, h)
    np.testing.assert_allclose(pyramid, small, rtol=1e-5, atol=1e-6)
    expected = np.asarray(h) + small @ np.asarray(p["kernel"])[0, 0] + np.asarray(p["bias"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
