"""Transforms: what they do to an example, and that what is drawn belongs to the example."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxgen
from jaxgen import data
from jaxgen.nn import bilinear, interpolate
from jaxgen.types import Array

KEY = jax.random.key(3)


def draws(transform: data.Transform, image: np.ndarray, n: int) -> np.ndarray:
    """n independent draws from one image, `[n, H, W, C]`."""
    batch = {"image": jnp.broadcast_to(image, (n, *image.shape))}
    return np.asarray(jax.jit(lambda b: data.apply_transform(transform, b, KEY, jnp.arange(n)))(batch)["image"])


def numbered(height: int, width: int) -> np.ndarray:
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


@settings(max_examples=30)
@given(st.floats(-8, 8, width=32), st.floats(-8, 8, width=32))
def test_scale_brings_the_bytes_to_the_range(low: float, high: float) -> None:
    x = data.scale(low, high)({"image": jnp.arange(256, dtype=jnp.uint8)}, KEY)["image"]
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, np.linspace(low, high, 256), atol=1e-5)


def test_scale_touches_nothing_else_and_takes_another_feature() -> None:
    example = {"photo": jnp.uint8(255), "label": jnp.int32(3)}
    assert data.scale(feature="photo")(example, KEY) == {"photo": 1.0, "label": 3}
    assert example["photo"] == 255


def test_binarized_pixels_are_ones_as_often_as_the_intensities_say() -> None:
    n, p = 40_000, np.linspace(0, 1, 11, dtype=np.float32)[:, None, None]
    x = draws(data.binarize(), p, n)
    assert x.dtype == np.float32
    assert set(np.unique(x)) == {0.0, 1.0}
    assert (np.abs(x.mean(0) - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()


def test_binarization_is_drawn_anew_each_time_and_for_each_pixel() -> None:
    x = draws(data.binarize(), np.full((8, 8, 1), 0.5, np.float32), 20)
    assert len({a.tobytes() for a in x}) == 20
    assert (x.std((1, 2)) > 0).all()


def test_static_binarization_depends_on_the_index_alone() -> None:
    p, indices = jnp.full((30, 8, 8, 1), 0.5), jnp.arange(100, 130)

    def drawn(seed: int, key: Array, cut: slice) -> np.ndarray:
        batch = {"image": p[cut], "index": indices[cut]}
        transform = data.chain(data.identity, data.binarize_statically(seed))
        return np.asarray(data.apply_transform(transform, batch, key, jnp.arange(len(p[cut])))["image"])

    every = drawn(0, KEY, slice(None))
    assert len({a.tobytes() for a in every}) == 30
    np.testing.assert_array_equal(drawn(0, jax.random.key(99), slice(7, 9)), every[7:9])
    assert (drawn(1, KEY, slice(None)) != every).any()
    assert abs(every.mean() - 0.5) < 5 * 0.5 / np.sqrt(every.size)


def test_dequantized_pixels_stay_in_their_bin() -> None:
    # Two million draws, of which a naive sum of float32 rounds several up to the next bin.
    x = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    y = draws(data.dequantize(), x, 8000).astype(np.float64)
    assert (y >= x / 256).all()
    assert (y < (x + 1.0) / 256).all()
    within = y * 256 - x
    assert abs(within.mean() - 0.5) < 5 / np.sqrt(12 * within.size)
    assert abs(within.std() - 1 / np.sqrt(12)) < 1e-3


def test_flip_mirrors_half_of_the_images_left_to_right() -> None:
    image = numbered(2, 3)
    y = draws(data.flip(), image, 1000)
    same, mirrored = (y == image).all((1, 2, 3)), (y == image[:, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert abs(same.mean() - 0.5) < 5 * 0.5 / np.sqrt(1000)


def test_pad_puts_a_border_around() -> None:
    image = numbered(2, 3)
    (y,) = draws(data.pad(2), image, 1)
    assert y.shape == (6, 7, 3)
    np.testing.assert_array_equal(y[2:4, 2:5], image)
    assert y.sum() == image.sum()
    (reflected,) = draws(data.pad(1, mode="reflect"), image, 1)
    np.testing.assert_array_equal(reflected[0, 1:4], image[1])


@pytest.mark.parametrize(("height", "width"), [(5, 5), (6, 4)])
def test_crop_cuts_every_window_equally_often(height: int, width: int) -> None:
    image, n = numbered(height, width), 4000
    y = draws(data.crop(3), image, n)
    windows = {image[i : i + 3, j : j + 3].tobytes(): (i, j) for i in range(height - 2) for j in range(width - 2)}
    seen = [windows[a.tobytes()] for a in y]
    counts = np.array([seen.count(offset) for offset in windows.values()])
    assert (np.abs(counts - n / len(windows)) < 5 * np.sqrt(n / len(windows))).all()


@pytest.mark.parametrize(("shape", "size", "corner"), [((6, 6), 4, (1, 1)), ((7, 4), 4, (1, 0)), ((5, 8), 2, (1, 3))])
def test_center_crop_cuts_the_middle(shape: tuple[int, int], size: int, corner: tuple[int, int]) -> None:
    image, (top, left) = numbered(*shape), corner
    (y,) = draws(data.center_crop(size), image, 1)
    np.testing.assert_array_equal(y, image[top : top + size, left : left + size])


@pytest.mark.parametrize("transform", [data.crop(7), data.center_crop(7)])
def test_a_window_larger_than_the_image_is_refused(transform: data.Transform) -> None:
    with pytest.raises(TypeError, match="slice"):
        transform({"image": jnp.zeros((6, 6, 1))}, KEY)


def test_chain_applies_in_order() -> None:
    chained = data.chain(data.scale(0, 255), data.pad(1), data.center_crop(2))
    image = numbered(2, 2)
    np.testing.assert_allclose(draws(chained, image, 1)[0], image, rtol=1e-6)
    assert draws(data.chain(), image, 1).tobytes() == image.tobytes()


def test_links_of_a_chain_draw_independently() -> None:
    half = jnp.full((64, 64, 1), 0.5)
    chained = data.chain(data.binarize(feature="a"), data.binarize(feature="b"))
    x = chained({"a": half, "b": half}, KEY)
    assert abs((x["a"] == x["b"]).mean() - 0.5) < 5 * 0.5 / 64


SEVERAL = jax.jit(functools.partial(data.apply_transform, data.chain(data.flip(), data.crop(5), data.dequantize())))


def several(images: np.ndarray, ids: np.ndarray, key: Array = KEY) -> np.ndarray:
    return np.asarray(SEVERAL({"image": images}, key, ids)["image"])


@pytest.mark.parametrize("size", [1, 4, 6])
def test_what_is_drawn_does_not_depend_on_how_a_batch_is_cut(size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
    ids = np.arange(50, 62)
    pieces = [several(images[i : i + size], ids[i : i + size]) for i in range(0, 12, size)]
    np.testing.assert_array_equal(np.concatenate(pieces), several(images, ids))


def test_another_key_or_another_example_draws_otherwise() -> None:
    images, ids = np.zeros((12, 6, 6, 3), np.uint8), np.arange(12)
    once, again = several(images, ids), several(images, ids, jax.random.key(4))
    assert len({a.tobytes() for a in (*once, *again)}) == 24
    np.testing.assert_array_equal(once, several(images, ids))


def test_jointly_is_one_draw_for_all_features_and_another_for_each_example() -> None:
    whole = numbered(10, 9)
    batch = {name: jnp.broadcast_to(whole, (50, *whole.shape)) for name in ("image", "mask")} | {"label": jnp.arange(50)}
    transform = data.jointly(("image", "mask"), data.chain(data.crop((4, 5)), data.flip()))
    cut = jax.jit(lambda b: data.apply_transform(transform, b, KEY, jnp.arange(50)))(batch)
    np.testing.assert_array_equal(cut["image"], cut["mask"])
    np.testing.assert_array_equal(cut["label"], np.arange(50))
    assert cut["image"].shape == (50, 4, 5, 3)
    assert len({np.asarray(a).tobytes() for a in cut["image"]}) > 25
    mirrored = np.asarray(cut["image"][:, 0, 0, 0]) > np.asarray(cut["image"][:, 0, -1, 0])
    assert 0.2 < mirrored.mean() < 0.8


def test_features_of_different_sides_are_not_changed_together() -> None:
    with pytest.raises(jaxgen.UserError, match=r"different sides \(image 8x8, mask 4x8\); bring them to one size first"):
        data.jointly(("image", "mask"), data.flip())({"image": jnp.zeros((8, 8, 1)), "mask": jnp.zeros((4, 8, 1))}, KEY)


def test_resampling() -> None:
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(8, 6, 3)), jnp.float32)
    larger = data.resample((12, 9))({"image": image}, KEY)["image"]
    assert larger.shape == (12, 9, 3)
    expected = interpolate(image, (12, 9), bilinear)
    np.testing.assert_allclose(larger, expected, atol=1e-5)
    classes = jnp.asarray(numbered(8, 6)[..., :1])
    nearest = data.resample((12, 9), method="nearest")({"image": classes}, KEY)["image"]
    rows, columns = (np.floor((np.arange(new) + 0.5) * old / new).astype(int) for new, old in ((12, 8), (9, 6)))
    np.testing.assert_array_equal(nearest, np.asarray(classes)[np.ix_(rows, columns)])
    assert nearest.dtype == jnp.uint8
    with pytest.raises(jaxgen.UserError, match=r"image is uint8, .*; put resample\(\) after scale\(\)"):
        data.resample((12, 9))({"image": classes}, KEY)
