"""The pipe of augmentations: the law of what is drawn, what each change does, and that none of them is there by itself."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import InputError
from jaxgen.losses.augmentation_pipe import Changes, bgc, changed, drawn

N = 3000
KEYS = jax.random.split(jax.random.key(0), N)
COLOURS = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 3)), jnp.float32)
GREYS = COLOURS.mean(-1, keepdims=True)
change = jax.jit(changed)


def one(image: jax.Array, **changes: Any) -> np.ndarray:
    return np.asarray(change(image, jax.tree.map(jnp.float32, Changes(**changes))))


def test_each_change_has_its_law_and_a_draw_of_its_own() -> None:
    p = 0.3
    found = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.jit(jax.vmap(lambda key: drawn(key, p)))(KEYS))
    turns = 1 - np.sqrt(1 - p)
    shares = {"mirrored": p / 2, "luma_flipped": p / 2, "quarter_turns": 3 * p / 4, "turn_before": turns, "turn_after": turns}
    there = {name: (x if x.ndim == 1 else x[:, 0]) != 0 for name, x in found._asdict().items()}
    for name, hit in there.items():
        share = shares.get(name, p)
        assert hit.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / N)), name
    assert (there["turn_before"] | there["turn_after"]).mean() == pytest.approx(p, abs=0.035)
    assert np.abs(np.corrcoef(np.array(list(there.values()))) - np.eye(len(there))).max() < 0.09
    stds = {"size": 0.2, "stretch": 0.2, "shift": 0.125, "brightness": 0.2, "contrast": 0.5, "saturation": 1.0}
    for name, std in stds.items():
        values = getattr(found, name)[there[name]]
        assert values.std() == pytest.approx(std, rel=0.1), name
        assert values.mean() == pytest.approx(0, abs=0.2 * std), name
    limits = {"turn_before": np.pi, "turn_after": np.pi, "hue": np.pi, "whole_shift": 0.125}
    for name, limit in limits.items():
        values = getattr(found, name)[there[name]]
        assert values.min() == pytest.approx(-limit, rel=0.05), name
        assert values.max() == pytest.approx(limit, rel=0.05), name
        assert values.std() == pytest.approx(limit / np.sqrt(3), rel=0.1), name
    assert set(np.unique(found.quarter_turns)) == {0, 1, 2, 3}
    assert set(np.unique(found.mirrored)) == set(np.unique(found.luma_flipped)) == {0, 1}
    for name in ("whole_shift", "shift"):
        x = getattr(found, name)[there[name]]
        assert abs(np.corrcoef(x.T)[0, 1]) < 0.15, "both directions have draws of their own"


def test_a_probability_of_zero_changes_no_bit_and_above_one_counts_as_one() -> None:
    for image in (COLOURS, GREYS):
        x = jnp.broadcast_to(image, (20, *image.shape))
        np.testing.assert_array_equal(jax.jit(bgc)(KEYS[:20], x, 0.0), x)
    certain, beyond = (jax.vmap(lambda key, p=p: drawn(key, p))(KEYS[:20]) for p in (1.0, 2.5))
    for name, value in certain._asdict().items():
        np.testing.assert_array_equal(value, getattr(beyond, name))


def test_each_example_is_changed_by_its_own_key() -> None:
    x = jnp.broadcast_to(COLOURS, (6, *COLOURS.shape))
    whole = jax.jit(bgc)(KEYS[:6], x, 0.8)
    np.testing.assert_allclose(bgc(KEYS[4:6], x[4:6], 0.8), whole[4:6], atol=1e-5)
    assert len(np.unique(np.asarray(whole).reshape(6, -1).round(4), axis=0)) > 4


def test_shifts_by_whole_pixels_are_exact() -> None:
    found = one(COLOURS, whole_shift=(0.2, -0.1))  # 1.6 and -0.8 of 8 pixels
    mirrored = np.pad(COLOURS, ((7, 7), (7, 7), (0, 0)), mode="reflect")
    np.testing.assert_allclose(found, mirrored[8:16, 5:13], atol=1e-5)
    np.testing.assert_allclose(one(COLOURS, shift=(0.25, -0.125)), found, atol=1e-5)


def test_places_are_moved_as_they_say() -> None:
    """The brightest point of an image of one bump, from its centre: x to the right and y down."""
    y, x = np.mgrid[-15.5:16, -15.5:16]
    bump = jnp.asarray(np.exp(-((x - 6) ** 2 + (y - 2) ** 2) / 8)[..., None], jnp.float32)

    def peak(**changes: Any) -> tuple[float, float]:
        made = one(bump, **changes)[..., 0].clip(0) ** 4
        return float((made * x).sum() / made.sum()), float((made * y).sum() / made.sum())

    near = lambda *place: pytest.approx(place, abs=0.3)
    assert peak(mirrored=1.0) == near(-6, 2)
    assert peak(quarter_turns=1.0) == near(2, -6)
    assert peak(quarter_turns=2.0) == near(-6, -2)
    assert peak(size=0.5) == near(6 * 2**0.5, 2 * 2**0.5)
    assert peak(stretch=0.5) == near(6 * 2**0.5, 2 / 2**0.5)
    assert peak(turn_before=np.pi / 4) == near(8 / 2**0.5, -4 / 2**0.5)
    assert peak(turn_after=np.pi / 4) == near(8 / 2**0.5, -4 / 2**0.5)
    assert peak(shift=(0.1, 0.2)) == near(9.2, 8.4)
    # They follow one another in the order of their names.
    assert peak(mirrored=1.0, quarter_turns=1.0) == near(2, 6)
    assert peak(mirrored=1.0, whole_shift=(0.1, 0.0), size=0.5) == near(-3 * 2**0.5, 2 * 2**0.5)
    assert peak(size=0.5, shift=(0.1, 0.0)) == near(6 * 2**0.5 + 3.2, 2 * 2**0.5)


def test_colours_are_changed_about_the_axis_of_the_greys() -> None:
    x = np.asarray(COLOURS, np.float64)
    grey = x.mean(-1, keepdims=True)
    close = lambda found, expected: np.testing.assert_allclose(found, expected, atol=1e-5)
    close(one(COLOURS, brightness=0.3), x + 0.3)
    close(one(COLOURS, contrast=1.0), 2 * x)
    close(one(COLOURS, brightness=0.3, contrast=1.0), 2 * (x + 0.3))
    close(one(COLOURS, luma_flipped=1.0), x - 2 * grey)
    close(one(COLOURS, saturation=1.0), grey + 2 * (x - grey))
    close(one(COLOURS, hue=2 * np.pi / 3), np.roll(x, 1, axis=-1))
    turned = one(COLOURS, hue=1.0)
    close(turned.mean(-1, keepdims=True), grey)
    close((turned**2).sum(-1), (x**2).sum(-1))
    flat = np.asarray(GREYS, np.float64)
    close(one(GREYS, brightness=0.3, contrast=1.0), 2 * (flat + 0.3))
    close(one(GREYS, luma_flipped=1.0), -flat)
    np.testing.assert_array_equal(one(GREYS, hue=1.0, saturation=1.0), GREYS)


def test_gradients_pass_through_of_first_and_second_order() -> None:
    x, keys = jnp.stack([COLOURS] * 3), KEYS[:3]
    slope = lambda w: jax.grad(lambda x: jnp.sin(w * bgc(keys, x, 0.9)).sum())(x)
    size = jax.jit(lambda w: (slope(w) ** 2).sum())
    step = 1e-2
    expected = (size(1.0 + step) - size(1.0 - step)) / (2 * step)
    assert float(jax.grad(size)(1.0)) == pytest.approx(float(expected), rel=5e-3)


def test_it_keeps_half_precision_and_refuses_other_channels() -> None:
    half = jax.jit(bgc)(KEYS[:2], jnp.stack([COLOURS] * 2).astype(jnp.bfloat16), 0.9)
    assert half.dtype == jnp.bfloat16
    with pytest.raises(InputError, match="these have 2 channels"):
        changed(COLOURS[..., :2], Changes())
