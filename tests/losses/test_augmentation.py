"""Augmentations of what a discriminator sees: their laws, and whose keys they draw with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.losses import augmentation

N, H, W = 400, 8, 6
KEYS = jax.random.split(jax.random.key(0), N)
X = jnp.asarray(np.random.default_rng(0).uniform(0.1, 1.0, (N, H, W, 3)), jnp.float32)
ALL = {
    "brightness": augmentation.brightness,
    "saturation": augmentation.saturation,
    "contrast": augmentation.contrast,
    "translation": augmentation.translation(),
    "cutout": augmentation.cutout(),
    "color": augmentation.color,
}


@pytest.mark.parametrize("name", ALL)
def test_each_example_is_augmented_by_its_own_key(name: str) -> None:
    whole = ALL[name](KEYS[:6], X[:6])
    np.testing.assert_allclose(ALL[name](KEYS[4:6], X[4:6]), whole[4:6], rtol=1e-6)
    same = ALL[name](KEYS[:6], X[:1].repeat(6, 0))
    assert len(np.unique(np.asarray(same).reshape(6, -1).round(4), axis=0)) > 1


def uniform_between(values: np.ndarray, low: float, high: float) -> None:
    assert low <= values.min() < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < values.max() <= high
    assert values.mean() == pytest.approx((low + high) / 2, abs=4 * (high - low) / np.sqrt(12 * len(values)))


def test_brightness_adds_one_number_to_an_image() -> None:
    added = np.asarray(augmentation.brightness(KEYS, X) - X)
    assert np.ptp(added, axis=(1, 2, 3)).max() < 1e-6
    uniform_between(added[:, 0, 0, 0], -0.5, 0.5)


def test_contrast_scales_about_the_mean_of_the_image() -> None:
    out = np.asarray(augmentation.contrast(KEYS, X))
    np.testing.assert_allclose(out.mean((1, 2, 3)), X.mean((1, 2, 3)), atol=1e-5)
    ratio = out.std((1, 2, 3)) / np.asarray(X).std((1, 2, 3))
    uniform_between(ratio, 0.5, 1.5)


def test_saturation_scales_about_the_mean_of_the_channels() -> None:
    out = np.asarray(augmentation.saturation(KEYS, X))
    np.testing.assert_allclose(out.mean(-1), X.mean(-1), atol=1e-5)
    centred = lambda x: np.asarray(x) - np.asarray(x).mean(-1, keepdims=True)
    ratio = (centred(out) * centred(X)).sum((1, 2, 3)) / (centred(X) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(centred(out), ratio[:, None, None, None] * centred(X), atol=1e-5)
    uniform_between(ratio, 0.0, 2.0)


def test_translation_moves_by_whole_pixels_and_fills_with_zeros() -> None:
    out = np.asarray(augmentation.translation(0.25)(KEYS, X))
    seen = set()
    for x, moved in zip(np.asarray(X), out, strict=True):
        found = [
            (a, b)
            for a in range(-2, 3)
            for b in range(-2, 3)
            if np.array_equal(np.pad(x, [(2, 2), (2, 2), (0, 0)])[2 + a : 2 + a + H, 2 + b : 2 + b + W], moved)
        ]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) == 25, "a quarter of 8, and of 6, is 2 pixels either way"


@pytest.mark.parametrize(("share", "sizes"), [(0.5, (4, 3)), (0.25, (2, 2))])
def test_cutout_sets_a_rectangle_to_zero(share: float, sizes: tuple[int, int]) -> None:
    out = np.asarray(augmentation.cutout(share)(KEYS, X))
    cut = (out == 0).all(-1)
    np.testing.assert_array_equal(out[~cut], np.asarray(X)[~cut])
    corners = set()
    for mask in cut:
        rows, columns = mask.any(1), mask.any(0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns[None])
        for line, size in ((rows, sizes[0]), (columns, sizes[1])):
            at = np.flatnonzero(line)
            assert 1 <= len(at) <= size
            assert np.ptp(at) + 1 == len(at)
            assert len(at) == size or at[0] == 0 or at[-1] == len(line) - 1, "it is cut off by a border alone"
        corners.add((int(rows.argmax()), int(columns.argmax())))
    assert len(corners) > 20


def test_no_share_changes_nothing() -> None:
    for augment in (augmentation.translation(0.0), augmentation.cutout(0.0)):
        np.testing.assert_array_equal(augment(KEYS, X), X)


def test_gradients_pass_through_what_is_kept() -> None:
    cut = augmentation.chained(augmentation.translation(), augmentation.cutout())
    gradient = np.asarray(jax.grad(lambda x: cut(KEYS, x).sum())(X))
    assert set(np.unique(gradient)) <= {0.0, 1.0}
    assert 0.5 < gradient.mean() < 0.9
