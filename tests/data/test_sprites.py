"""The sprites: shapes of one area, whose factors can be read from the pixels, as far as symmetry allows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxgen import data
from jaxgen.data.builders import sprites as sp
from jaxgen.errors import UserError

LATTICES = {"small": sp.SMALL, "full": sp.FULL}
TURNS = {"square": 4, "ellipse": 2, "heart": 1}
"""By shape: the number of turns that leave it as it is."""

TINY = sp.Lattice(16, 2, 4, 4)


def made(lattice: sp.Lattice, folder: Path, held_out: bool) -> list[tuple[int, dict[str, Any]]]:
    builder = sp.Sprites(data_dir=str(folder), config=sp.SpritesConfig(lattice, name="mine"))
    return list(builder._generate_examples(held_out))


def arrays(examples: list[tuple[int, dict[str, Any]]]) -> tuple[np.ndarray, np.ndarray]:
    factors = [[example[name] for name in ("shape", "scale", "orientation", "x", "y")] for _, example in examples]
    return np.stack([np.asarray(example["image"]) for _, example in examples]), np.array(factors)


def test_the_outlines_have_an_area_of_1_and_their_centre_in_the_middle() -> None:
    """By a count over a fine grid, which knows nothing of the formula for polygons."""
    side = 400
    for outline in sp.SHAPES.values():
        inside = sp.rasterised(outline * 200, side)
        assert inside.sum() == pytest.approx(200**2, rel=2e-3)
        rows, columns = np.nonzero(inside)
        assert (rows.mean(), columns.mean()) == (pytest.approx(side / 2 - 0.5, abs=0.3),) * 2
    right, up = sp.SHAPES["heart"].T
    assert up[np.abs(right) < 1e-9].min() < -0.6, "the tip points down"
    np.testing.assert_allclose(np.ptp(sp.SHAPES["ellipse"], axis=0), [2 * np.sqrt(2 / np.pi), np.sqrt(2 / np.pi)], rtol=2e-3)
    np.testing.assert_allclose(np.ptp(sp.SHAPES["square"], axis=0), 1)


@pytest.mark.parametrize("outline", sp.SHAPES.values(), ids=list(sp.SHAPES))
def test_pixels_are_those_of_pillows_polygons_but_for_the_edge(outline: np.ndarray) -> None:
    from PIL import Image, ImageDraw

    vertices, fine = outline * 20, 16
    image = Image.new("L", (32 * fine, 32 * fine))
    ImageDraw.Draw(image).polygon([((16 + x) * fine, (16 - y) * fine) for x, y in vertices], fill=1)
    covered = np.asarray(image).reshape(32, fine, 32, fine).mean((1, 3))
    ours = sp.rasterised(vertices, 32)
    certain = np.abs(covered - 0.5) > 0.15
    assert certain.mean() > 0.95
    np.testing.assert_array_equal(ours[certain], covered[certain] > 0.5)


@pytest.mark.parametrize("lattice", LATTICES.values(), ids=list(LATTICES))
def test_shapes_of_a_scale_have_the_same_area(lattice: sp.Lattice) -> None:
    area = sp.drawn(lattice).sum((3, 4))
    scales = np.linspace(0.5, 1, lattice.scales)
    expected = (10.5 / 32 * lattice.side * scales) ** 2
    np.testing.assert_allclose(area.mean((0, 2)), expected, rtol=0.05)
    np.testing.assert_allclose(area.mean(2) / expected, 1, atol=0.08)


@pytest.mark.parametrize("lattice", LATTICES.values(), ids=list(LATTICES))
def test_sprites_look_the_same_after_the_turns_of_their_symmetry_and_never_else(lattice: sp.Lattice) -> None:
    sprites = sp.drawn(lattice)
    for shape, sprite in zip(sp.SHAPES, sprites, strict=True):
        same = np.roll(sprite, lattice.orientations // TURNS[shape], axis=1)
        np.testing.assert_array_equal(sprite, same)
    different = lattice.scales * sum(lattice.orientations // turns for turns in TURNS.values())
    assert len(np.unique(sprites.reshape(-1, sprites[0, 0, 0].size), axis=0)) == different
    # A quarter turn is that of the picture, anticlockwise.
    turned = np.roll(sprites, -lattice.orientations // 4, axis=2)
    np.testing.assert_array_equal(turned, np.rot90(sprites, axes=(3, 4)))


def test_all_combinations_are_there_and_the_nearest_image_of_the_lattice_has_their_factors(tmp_path: Path) -> None:
    (train, of_train), (test, of_test) = (arrays(made(TINY, tmp_path, held_out)) for held_out in (False, True))
    assert len(np.unique(np.concatenate([of_train, of_test]), axis=0)) == 3 * 2 * 4 * 4 * 4 == len(train) + len(test)
    assert train.dtype == np.uint8
    assert len(test) < len(train) / 5
    assert set(np.unique(train)) == {0, 255}
    images, factors = np.concatenate([train, test]), np.concatenate([of_train, of_test])
    # Of noisy images: the mean square differs from the nearest's by symmetry only.
    noisy = images.reshape(len(images), -1) / 255 + np.random.default_rng(0).normal(0, 0.1, (len(images), 256))
    flat = images.reshape(len(images), -1) / 255.0
    nearest = ((flat**2).sum(1) - 2 * noisy @ flat.T).argmin(1)
    found = factors[nearest]
    np.testing.assert_array_equal(np.delete(found, 2, axis=1), np.delete(factors, 2, axis=1))
    period = np.array([4 // TURNS[shape] for shape in sp.SHAPES])[factors[:, 0]]
    np.testing.assert_array_equal(found[:, 2] % period, factors[:, 2] % period)


def test_places_are_a_pixel_apart_and_around_the_middle(tmp_path: Path) -> None:
    images, factors = arrays(made(TINY, tmp_path, False))
    squares = (factors[:, 0] == 0) & (factors[:, 2] == 0)
    for image, (*_, x, y) in zip(images[squares], factors[squares], strict=True):
        rows, columns = np.nonzero(image)
        assert (columns.mean(), rows.mean()) == (x + 6, y + 6)


def test_a_tenth_of_the_different_images_is_held_out_and_no_image_is_in_both_splits() -> None:
    for lattice in LATTICES.values():
        sprites = sp.drawn(lattice)
        held_out = sp.split(sprites, lattice.positions)
        assert held_out.mean() == pytest.approx(0.1, abs=0.003)
        for axis in range(5):
            share = held_out.mean(tuple(a for a in range(5) if a != axis))
            np.testing.assert_allclose(share, 0.1, atol=0.02)
        for turns, of_shape in zip(TURNS.values(), held_out, strict=True):
            np.testing.assert_array_equal(of_shape, np.roll(of_shape, lattice.orientations // turns, axis=1))
    sprites = sp.drawn(TINY)
    held_out = sp.split(sprites, TINY.positions)
    splits: list[set[bytes]] = [set(), set()]
    for place in np.ndindex(held_out.shape):
        *look, x, y = place
        splits[int(held_out[place])].add(sp.placed(sprites[tuple(look)], x, y, 16).tobytes())
    assert not splits[0] & splits[1]


def test_the_builder_makes_a_set_with_named_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sp.Sprites, "BUILDER_CONFIGS", [sp.SpritesConfig(TINY, name="small")])
    train, test = (data.load("sprites", split, data_dir=str(tmp_path)) for split in ("train", "test"))
    assert train.length + test.length == 384
    found = train.gather(np.arange(train.length))
    images, factors = arrays(made(TINY, tmp_path, False))
    expected = {(image.tobytes(), *row) for image, row in zip(images, factors.tolist(), strict=True)}
    rows = np.stack([found[name] for name in ("shape", "scale", "orientation", "x", "y")], 1).tolist()
    assert {(image.tobytes(), *row) for image, row in zip(found["image"], rows, strict=True)} == expected
    assert train.classes["shape"] == ("square", "ellipse", "heart")
    assert train.classes["scale"] == ("0.5", "1")
    assert train.classes["orientation"] == ("0", "90", "180", "270")
    assert train.classes["x"] == train.classes["y"] == ("0", "1", "2", "3")


def test_both_lattices_have_a_name(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    for name, side, count in (("sprites", 32, 4), ("sprites/full", 64, 6)):
        info = tfds.builder(name, data_dir=str(tmp_path)).info
        assert info.features["image"].shape == (side, side, 1)
        assert info.features["scale"].num_classes == count
    with pytest.raises(UserError, match="'sprites/larger' cannot be opened"):
        data.load("sprites/larger", "train", data_dir=str(tmp_path))


@pytest.mark.slow
def test_the_default_set_has_all_its_images(tmp_path: Path) -> None:
    train, test = (data.load("sprites", split, data_dir=str(tmp_path)) for split in ("train", "test"))
    assert train.length + test.length == 3 * 4 * 20 * 16 * 16
    images = {image.tobytes() for source in (train, test) for image in source.gather(np.arange(source.length))["image"]}
    assert len(images) == 4 * (5 + 10 + 20) * 16 * 16
