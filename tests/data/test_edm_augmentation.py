"""Augmentation with a label: the laws of what is drawn, and that the label says what was done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import affine, data

N = 3000
KEYS = jax.random.split(jax.random.key(0), N)
IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5, 1)), jnp.float32)


def labels(p: float) -> np.ndarray:
    """The labels of N draws, of an image of one pixel."""
    made = jax.jit(jax.vmap(lambda key: data.augment_edm(p)({"image": jnp.zeros((1, 1, 1))}, key)["augment"]))(KEYS)
    return np.asarray(made, np.float64)


def test_the_changes_have_their_laws() -> None:
    p = 0.3
    found = labels(p)
    assert found.shape == (N, 9)
    share = lambda hit: pytest.approx(hit, abs=4 * np.sqrt(hit * (1 - hit) / N))
    across, down, size = found[:, 0], found[:, 1], found[:, 2]
    assert set(np.unique(found[:, :2])) == {0.0, 1.0}
    assert across.mean() == share(0.5)
    assert down.mean() == share(p / 2)
    turned, stretched, moved = found[:, 3:5], found[:, 5:7], found[:, 7:9]
    for drawn in (size[:, None], turned, stretched, moved):
        assert (drawn != 0).any(1).mean() == share(p)
    normal = size[size != 0]
    assert (normal.mean(), normal.std()) == (pytest.approx(0, abs=0.15), pytest.approx(1, abs=0.1))
    angle = np.arctan2(turned[:, 1], turned[:, 0] + 1)[(turned != 0).any(1)]
    np.testing.assert_allclose(np.hypot(turned[:, 0] + 1, turned[:, 1]), 1, atol=1e-5)
    assert (angle.mean(), angle.std()) == (pytest.approx(0, abs=0.25), pytest.approx(np.pi / np.sqrt(3), abs=0.1))
    there = stretched[(stretched != 0).any(1)]
    assert (there[:, 1] == 0).mean() == pytest.approx(0.5, abs=0.07), "half of them along the axes"
    assert (there**2).sum(1).mean() == pytest.approx(1, abs=0.15)
    both = moved[(moved != 0).any(1)]
    assert (both != 0).all(), "in both directions at once"
    assert both.std(0) == pytest.approx([1, 1], abs=0.1)
    sizes = np.stack([size, np.hypot(*stretched.T)])[:, (size != 0) & (stretched != 0).any(1)]
    assert abs(np.corrcoef(np.abs(sizes))[0, 1]) < 0.3, "sizes and proportions have numbers of their own"
    assert np.abs(np.corrcoef((found != 0)[:, [1, 2, 4, 5, 7]].T) - np.eye(5)).max() < 0.08, "each by a draw of its own"


def test_the_label_says_what_was_done() -> None:
    """The image is made again from the label alone.

    As in the authors' code, one thing is left open: by -z at the angle r the label is that of z at the angle r + pi.
    """
    made = jax.vmap(lambda key: data.augment_edm(1.0)({"image": IMAGE}, key))(KEYS[:40])
    for image, label in zip(made["image"], np.asarray(made["augment"]), strict=True):
        x = IMAGE[:, ::-1] if label[0] else IMAGE
        x = x[::-1] if label[1] else x
        angle, axis = np.arctan2(label[4], label[3] + 1), np.arctan2(label[6], label[5])
        size, errors = 2 ** (-0.2 * label[2]), []
        for sign in (1, -1):
            factor = 2 ** (sign * 0.2 * np.hypot(label[5], label[6]))
            back = affine.composed(
                affine.scaling(size, size),
                affine.rotation(angle),
                affine.rotation(-axis) @ affine.scaling(1 / factor, factor) @ affine.rotation(axis),
                affine.translation(-label[7] * 5 / 8, -label[8] * 6 / 8),
            )
            errors.append(float(jnp.abs(image - affine.warp(x, back)).max()))
        assert min(errors) < 1e-3


def test_mirror_images_are_exact() -> None:
    made = jax.vmap(lambda key: data.augment_edm(1e-6)({"image": IMAGE}, key))(KEYS[:50])
    for image, label in zip(made["image"], made["augment"], strict=True):
        np.testing.assert_array_equal(image, IMAGE[:, ::-1] if label[0] else IMAGE)
        assert not label[1:].any()


def test_nothing_is_changed_where_the_probability_is_zero() -> None:
    made = data.augment_edm(0.0)({"image": IMAGE, "other": 1}, KEYS[0])
    assert made["image"] is IMAGE
    assert made["other"] == 1
    np.testing.assert_array_equal(made["augment"], np.zeros(9, np.float32))


def test_it_takes_another_feature_and_refuses_bytes() -> None:
    made = data.augment_edm(0.5, feature="photo", label="how")({"photo": IMAGE, "image": 0}, KEYS[0])
    assert made["how"].shape == (9,)
    assert made["image"] == 0
    with pytest.raises(jaxgen.UserError, match=r"^The image is uint8, and .*; put scale\(\) first"):
        data.augment_edm(0.5)({"image": jnp.zeros((4, 4, 1), jnp.uint8)}, KEYS[0])
