"""Translations by styles: a stand-in whose images have the colour that the style says, and the brightness of their content."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import data
from jaxgen.analysis import content_and_style as cs
from jaxgen.analysis import hues
from jaxgen.game import TrainState

STATE = TrainState(jnp.int32(7), jax.random.key(0), {}, {}, {}, {})
INKS = np.array([[1.0, 0, 0], [0, 1, 0]])


def quiet(batches: Any, **_: Any) -> Any:
    return batches


def source(n: int, colour: Any = (1.0, 1.0, 1.0)) -> data.Source:
    shade = np.linspace(80, 240, n)
    image = shade[:, None, None, None] * np.ones((1, 4, 4, 3)) * np.asarray(colour)
    return data.from_arrays({"image": image.astype(np.uint8)}, name="shades")


def way(n: int = 5, target: data.Source | None = None) -> cs.Way:
    """Images in red where the first number of the style is positive, else in green."""

    def translate(state: Any, x: Any, style: Any) -> Any:
        ink = np.where(np.asarray(style)[:, :1] > 0, INKS[0], INKS[1])
        return jnp.asarray(np.asarray(x) / 255 * ink[:, None, None])

    return cs.Way(
        translate=translate,
        reconstruct=lambda state, x: 1 - np.asarray(x) / 255,
        style_of=lambda state, x: np.where(np.asarray(x)[:, 0, 0, :1] > 0, 1.0, -1.0) * np.ones((1, 2)),
        latents=2,
        own=source(n),
        target=source(n, (1, 0, 0)) if target is None else target,
    )


def test_styles_are_normal_and_belong_to_their_images() -> None:
    key = jax.random.key(1)
    found = cs.random_styles(way(), key, np.arange(300), 7)
    assert found.shape == (300, 7, 2)
    assert float(found.mean()) == pytest.approx(0, abs=0.06)
    assert float(found.std()) == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(cs.random_styles(way(), key, np.array([42]), 7)[0], found[42])


def test_translations_of_all_images_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    key, one = jax.random.key(1), way(5)
    found = cs.translations(one, STATE, key, quiet, number=3)
    styles = np.asarray(cs.random_styles(one, key, np.arange(5), 3))
    assert found.shape == (5, 3, 4, 4, 3)
    x = one.own.gather(np.arange(5))["image"] / 255
    expected = x[:, None] * np.where(styles[..., :1] > 0, INKS[0], INKS[1])[:, :, None, None]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    monkeypatch.setattr(cs, "CHUNK", 6)
    np.testing.assert_array_equal(cs.translations(one, STATE, key, quiet, number=3), found)
    np.testing.assert_array_equal(cs.translations(one, STATE, key, quiet, number=3, inputs=2), found[:2])


def test_the_variety_of_two_inks() -> None:
    key, one = jax.random.key(1), way(6)
    found = cs.variety(one, STATE, key, quiet, number=5)
    made = cs.translations(one, STATE, key, quiet, number=5)
    red = np.asarray(made[..., 0, 0, 0] > 0).mean(1)
    entropy = np.array([-sum(p * np.log2(p) for p in (r, 1 - r) if p) for r in red])
    assert found["hue_entropy"] == pytest.approx(entropy.mean())
    assert found["hue_entropy_stderr"] == pytest.approx(entropy.std(ddof=1) / np.sqrt(6))
    # Of 5 (5 - 1) ordered pairs those of different inks differ by the shade in two of three channels.
    shade = one.own.gather(np.arange(6))["image"][:, 0, 0, 0] / 255
    apart = 2 * (5 * red) * (5 - 5 * red) / 20 * 2 / 3 * shade
    assert found["distance_of_styles"] == pytest.approx(apart.mean(), rel=1e-5)
    assert found["hue_entropy_of_target"] == 0
    mixed = data.from_arrays(
        {"image": np.stack([255 * np.broadcast_to(INKS[i % 2], (4, 4, 3)) for i in range(4)]).astype(np.uint8)}
    )
    assert cs.variety(way(6, mixed), STATE, key, quiet, number=4)["hue_entropy_of_target"] == 1
    assert "hue_entropy_of_target" not in cs.variety(way(6, mixed), STATE, key, quiet, number=5)


def test_the_variety_of_at_most_a_hundred_images_and_of_grey_ones_without_hues() -> None:
    seen = []
    one = way(120)
    plain = one._replace(translate=lambda state, x, style: (seen.append(len(x)), x[..., :1] / 255)[1])
    found = cs.variety(plain, STATE, jax.random.key(0), quiet, number=2)
    assert set(found) == {"distance_of_styles", "distance_of_styles_stderr"}
    assert 200 <= sum(seen) < 200 + cs.CHUNK
    assert found["distance_of_styles"] == 0
    assert set(cs.variety(way(1), STATE, jax.random.key(0), quiet, number=2)) == {"distance_of_styles", "hue_entropy"}


def test_the_picture_of_many_styles() -> None:
    key = jax.random.key(3)
    first, second = way(9), way(2)
    picture = cs.many_styles({"a_to_b": first, "b_to_a": second}, STATE, key, rows=3, number=4)
    shown = np.asarray(picture.images).reshape(5, 6, 4, 4, 3)
    assert picture.columns == 6
    for one, rows in ((first, slice(0, 3)), (second, slice(3, 5))):
        n = rows.stop - rows.start
        x = one.own.gather(np.arange(n))["image"] / 255
        np.testing.assert_allclose(shown[rows, 0], x, atol=1e-6)
        np.testing.assert_allclose(shown[rows, 1], 1 - x, atol=1e-6)
        np.testing.assert_allclose(shown[rows, 2:], cs.translations(one, STATE, key, quiet, number=4, inputs=n), atol=1e-6)
    assert picture.caption.endswith("in styles that are drawn: a_to_b, then b_to_a; step 7")


def test_the_picture_of_styles_of_examples() -> None:
    one = way(
        9,
        data.from_arrays({"image": np.stack([255 * np.broadcast_to(INKS[i], (4, 4, 3)) for i in (1, 0, 0)]).astype(np.uint8)}),
    )
    picture = cs.guided(one, STATE, jax.random.key(0), rows=2)
    shown = np.asarray(picture.images).reshape(3, 4, 4, 4, 3)
    x = one.own.gather(np.arange(2))["image"] / 255
    assert picture.columns == 4
    np.testing.assert_array_equal(shown[0, 0], np.ones((4, 4, 3)))
    np.testing.assert_allclose(shown[0, 1:], one.target.gather(np.arange(3))["image"] / 255)
    np.testing.assert_allclose(shown[1:, 0], x, atol=1e-6)
    for column, ink in ((1, 1), (2, 0), (3, 0)):
        np.testing.assert_allclose(shown[1:, column], x * INKS[ink], atol=1e-6)
    assert hues.of_images(shown[0, 1:]).tolist() == [4, 0, 0]
