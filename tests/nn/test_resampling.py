"""Resampling by a filter against the sums of its definition, in numpy and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.errors import SizeError
from jaxgen.nn.resampling import BINOMIAL, BOX, blurred, doubled, halved

FILTERS = [BOX, BINOMIAL, (1, 0, 2, 3, 0, 4)]
SIDES = [(8, 5), (1, 2), (3, 3)]


def matrix(side: int, taps: tuple[float, ...]) -> np.ndarray:
    """The filter at every second place of an axis, `[ceil(side / 2), side]`, each entry by itself."""
    k = np.asarray(taps, np.float64) / sum(taps)
    found = np.zeros((-(-side // 2), side))
    for i in range(len(found)):
        for j, weight in enumerate(k):
            place = 2 * i + j - (len(k) - 2) // 2
            if 0 <= place < side:
                found[i, place] += weight
    return found


def along_both(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.einsum("ih,jw,bhwc->bijc", rows, columns, np.asarray(x, np.float64))


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("taps", FILTERS)
def test_halved_is_its_definition(taps, sides) -> None:
    x = normal(2, *sides, 3)
    expected = along_both(x, *(matrix(side, taps) for side in sides))
    np.testing.assert_allclose(halved(x, taps), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("taps", FILTERS)
def test_doubled_is_twice_the_transpose_along_each_axis(taps, sides) -> None:
    x = normal(2, *sides, 3)
    expected = along_both(x, *(2 * matrix(2 * side, taps).T for side in sides))
    np.testing.assert_allclose(doubled(x, taps), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("taps", FILTERS)
def test_a_border_takes_the_place_of_zeros(taps) -> None:
    """Of larger maps with zeros around a part it is the same as without a border of that part."""
    reach = (len(taps) - 2) // 2
    for sides in ((6, 4), (7, 5)):
        x = normal(1, *sides, 2)
        around = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
        np.testing.assert_allclose(halved(around, taps, bordered=True), halved(x, taps), rtol=1e-6, atol=1e-6)
    seen = halved(jnp.ones((1, 4 + 2 * reach, 4 + 2 * reach, 1)), taps, bordered=True)
    np.testing.assert_allclose(seen, 1, rtol=1e-6)


def test_the_formulas_of_the_binomial_filter() -> None:
    x = np.random.default_rng(1).normal(size=8)
    far = np.concatenate([[0], x, [0]])
    maps = jnp.array(x, jnp.float32).reshape(1, 1, 8, 1).repeat(4, axis=1)
    up = np.stack([(far[:-2] + 3 * x) / 4, (3 * x + far[2:]) / 4], -1).reshape(-1)
    # A row well within maps of equal rows is untouched by the filter along the other axis.
    np.testing.assert_allclose(doubled(maps, BINOMIAL)[0, 3, :, 0], up, rtol=1e-5, atol=1e-6)
    down = (far[0:-2:2] + 3 * far[1:-1:2] + 3 * far[2::2] + far[3::2]) / 8
    np.testing.assert_allclose(halved(maps.repeat(2, axis=1), BINOMIAL)[0, 1, :, 0], down, rtol=1e-5, atol=1e-6)


def test_the_box_is_the_mean_and_the_nearest_pixel() -> None:
    x = normal(2, 4, 6, 3)
    np.testing.assert_allclose(halved(x, BOX), x.reshape(2, 2, 2, 3, 2, 3).mean((2, 4)), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(doubled(x, BOX), x.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize("taps", [BOX, BINOMIAL])
def test_no_convolution_is_in_it_and_half_precision_stays(taps) -> None:
    both = lambda x: (halved(x, taps).sum() + doubled(x, taps).sum()).astype(jnp.float32)
    assert "conv" not in str(jax.make_jaxpr(jax.grad(both))(normal(1, 4, 4, 2)))
    half = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    assert halved(half, taps).dtype == doubled(half, taps).dtype == jnp.bfloat16


@pytest.mark.parametrize("resample", [halved, doubled])
def test_an_odd_number_of_taps_is_refused(resample) -> None:
    with pytest.raises(SizeError, match="even number of taps, and not 3"):
        resample(jnp.ones((1, 4, 4, 1)), (1, 2, 1))


def test_a_blur_is_a_convolution_beyond_whose_borders_there_are_zeros() -> None:
    x = normal(2, 5, 4, 3)
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(kernel[i, j] * padded[:, i : i + 5, j : j + 4] for i in range(3) for j in range(3))
    np.testing.assert_allclose(blurred(x), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(SizeError, match="odd number of taps, and not 4"):
        blurred(x, BINOMIAL)
