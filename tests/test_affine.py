"""Affine maps, and images that are warped by them: against sums written out, exact cases, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import affine
from jaxgen.affine import composed, rotation, scaling, translation, warp

X = jax.random.normal(jax.random.key(0), (8, 6, 2))
SLANTED = composed(scaling(0.8, 1.3), rotation(0.4), translation(1.3, -0.6))


def smooth(height: int, width: int) -> jax.Array:
    """An image without sharp edges, `[h, w, 1]`."""
    return jnp.asarray(np.outer(np.sin(np.arange(height) / 3), np.cos(np.arange(width) / 4))[..., None], jnp.float32)


def test_the_filter_is_orthogonal_to_its_shifts_by_two_and_kills_a_checkerboard() -> None:
    taps = np.array(affine.SYM6)
    for shift in range(0, 12, 2):
        assert (taps[shift:] * taps[: 12 - shift]).sum() == pytest.approx(float(shift == 0), abs=1e-10)
    for power in range(6):  # six vanishing moments of the wavelet
        assert (taps * (-1) ** np.arange(12) * (np.arange(12) / 12) ** power).sum() == pytest.approx(0, abs=1e-9)


def test_maps_are_those_of_the_plane() -> None:
    point = jnp.array([3.0, 1.0, 1.0])
    np.testing.assert_allclose(translation(2.0, -1.0) @ point, [5, 0, 1])
    np.testing.assert_allclose(scaling(2.0, 3.0) @ point, [6, 3, 1])
    np.testing.assert_allclose(rotation(jnp.pi / 2) @ point, [-1, 3, 1], atol=1e-6)
    np.testing.assert_allclose(composed(scaling(2.0, 3.0), translation(2.0, -1.0)) @ point, [10, 0, 1])


def test_the_identity_gives_the_image_itself_and_what_is_next_to_it_the_same_to_rounding() -> None:
    np.testing.assert_array_equal(warp(X, jnp.eye(3)), X)
    np.testing.assert_allclose(warp(X, translation(1e-30, 0.0)), X, atol=2e-6)


@pytest.mark.parametrize("shift", [(1, 0), (0, 2), (-2, 1), (2, -2)])
def test_whole_pixels_are_moved_exactly_and_what_comes_in_is_mirrored(shift: tuple[int, int]) -> None:
    mirrored = np.pad(X, ((7, 7), (5, 5), (0, 0)), mode="reflect")
    right, down = shift
    expected = mirrored[7 - down : 15 - down, 5 - right : 11 - right]
    np.testing.assert_allclose(warp(X, translation(-float(right), -float(down))), expected, atol=5e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("sides", [(16, 16), (12, 12)])
def test_quarter_turns_of_smooth_images_are_those_of_numpy(turns: int, sides: tuple[int, int]) -> None:
    image = smooth(*sides)
    found = warp(image, rotation(turns * jnp.pi / 2))
    # The filter is not symmetric: its centre lies a tenth of a pixel off that of its mirror image.
    np.testing.assert_allclose(found, np.rot90(image, turns), atol=0.06)
    assert np.abs(found - np.rot90(image, turns + 2)).max() > 0.5


def test_half_a_pixel_of_a_line_is_its_middle() -> None:
    line = jnp.arange(32.0).reshape(1, 32, 1).repeat(4, 0)
    np.testing.assert_allclose(warp(line, translation(0.5, 0.0))[:, 8:-8, 0], line[:, 8:-8, 0] + 0.5, atol=0.02)


def test_an_enlarged_image_shows_its_middle() -> None:
    line = jnp.arange(32.0).reshape(1, 32, 1).repeat(4, 0)
    found = warp(line, scaling(0.5, 1.0))[0, 8:-8, 0]
    np.testing.assert_allclose(found, 15.5 + 0.5 * (np.arange(8, 24) - 15.5), atol=0.03)


def test_far_beyond_the_mirrored_image_there_is_nothing() -> None:
    np.testing.assert_array_equal(warp(X, translation(100.0, 0.0)), jnp.zeros_like(X))


def test_it_is_written_out_as_a_sum_for_one_pixel() -> None:
    """Doubled, read between pixels and halved along one axis, in double precision."""
    row, taps, shift = np.random.default_rng(0).normal(size=9), np.array(affine.SYM6), 0.37
    mirrored = np.pad(row, 8, mode="reflect")
    fine = np.zeros(50)
    for i, value in enumerate(mirrored):
        for tap, weight in enumerate(taps):
            if 0 <= 2 * i + tap - 5 < 50:
                fine[2 * i + tap - 5] += weight * value
    at = np.arange(50)
    read = lambda place: np.interp(place, at, fine)
    expected = [sum(w * read(2 * (i + 8) + tap - 5 + 2 * shift) for tap, w in enumerate(taps)) for i in range(9)]
    image = jnp.asarray(row, jnp.float32).reshape(1, 9, 1).repeat(9, 0)
    np.testing.assert_allclose(warp(image, translation(shift, 0.0))[4, :, 0], expected, atol=1e-5)


def test_it_is_linear_with_gradients_of_first_and_second_order() -> None:
    other, by = jax.random.normal(jax.random.key(1), X.shape), jax.random.normal(jax.random.key(2), X.shape)
    both = warp(X + 2 * other, SLANTED)
    np.testing.assert_allclose(both, warp(X, SLANTED) + 2 * warp(other, SLANTED), atol=1e-5)
    gradient = jax.grad(lambda x: (warp(x, SLANTED) * by).sum())
    assert float((gradient(X) * other).sum()) == pytest.approx(float((warp(other, SLANTED) * by).sum()), abs=1e-4)
    # As in R1: the slope of a nonlinear critic behind the warp, and its gradient in the critic's number.
    slope = lambda w, x: jax.grad(lambda x: jnp.sin(w * warp(x, SLANTED)).sum())(x)
    size = lambda w: (slope(w, X) ** 2).sum()
    step = 1e-2
    expected = (size(1.0 + step) - size(1.0 - step)) / (2 * step)
    assert float(jax.grad(size)(1.0)) == pytest.approx(float(expected), rel=1e-3)


def test_each_image_of_a_batch_has_its_own_map_and_its_dtype() -> None:
    maps = jnp.stack([SLANTED, jnp.eye(3), rotation(1.0)])
    images = jnp.stack([X, X + 1, X * 2])
    found = jax.vmap(warp)(images, maps)
    for i in range(3):
        np.testing.assert_allclose(found[i], warp(images[i], maps[i]), atol=1e-5)
    half = warp(X.astype(jnp.bfloat16), SLANTED)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), found[0], atol=0.05)
