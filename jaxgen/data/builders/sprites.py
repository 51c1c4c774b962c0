"""`sprites`: white shapes on black whose five factors of variation are known, drawn here. No download, no TensorFlow."""

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

SUPERSAMPLES = 4
"""Points along a side of a pixel; a pixel is white if more than half of its 16 points lie within the shape."""

TEST = 0.1
"""Share of the different images that is the test split."""


class Lattice(NamedTuple):
    """The values of the factors.

    Fields:
      side: height and width of an image.
      scales: the number of scales, from 0.5 to 1 at equal distances.
      orientations: the number of angles, from 0 to 360 degrees, the end left out.
      positions: the number of places along each axis, a pixel apart, around the middle of the image.
    """

    side: int
    scales: int
    orientations: int
    positions: int


SMALL = Lattice(32, 4, 20, 16)
FULL = Lattice(64, 6, 40, 32)


def _polygons() -> dict[str, np.ndarray]:
    """The outlines `[v, 2]` of the shapes, (right, up), of area 1 and with the centre of gravity at 0."""
    t = 2 * np.pi * np.arange(64) / 64
    heart = np.stack([16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)], -1)
    outlines = {
        "square": np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),
        "ellipse": np.stack([2 * np.cos(t), np.sin(t)], -1),
        "heart": heart,
    }
    return {name: _normalised(outline) for name, outline in outlines.items()}


def _normalised(outline: np.ndarray) -> np.ndarray:
    (x, y), (u, v) = outline.T, np.roll(outline, -1, axis=0).T
    cross = x * v - u * y  # twice the signed area of the triangle that an edge makes with 0
    area = cross.sum() / 2
    centre = np.array([((x + u) * cross).sum(), ((y + v) * cross).sum()]) / (6 * area)
    return (outline - centre) / np.sqrt(abs(area))


SHAPES = _polygons()
"""The outlines of the shapes by name; all have the same area."""


def rasterised(outline: np.ndarray, side: int) -> np.ndarray:
    """The pixels that a polygon covers by more than half, by the even-odd rule at 4x4 points of each.

    Args:
      outline: the vertices `[v, 2]` in pixels, (right, up), relative to the middle of the image.
      side: height and width of the image.

    Returns:
      Truth values `[side, side]`, the upper row first.

    >>> rasterised(np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]), 4).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    ticks = (np.arange(side * SUPERSAMPLES) + 0.5) / SUPERSAMPLES - side / 2
    inside = np.zeros((len(ticks), len(ticks)), bool)
    for (x, y), (u, v) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y == v:
            continue  # parallel to the rays, which go to the right
        rows = (ticks >= y) != (ticks >= v)
        crossing = x + (ticks[rows] - y) * (u - x) / (v - y)
        inside[rows] ^= ticks[None] < crossing[:, None]
    covered = inside[::-1].reshape(side, SUPERSAMPLES, side, SUPERSAMPLES).sum((1, 3))
    return covered > SUPERSAMPLES**2 / 2


def drawn(lattice: Lattice) -> np.ndarray:
    """The sprites of a lattice, each in the middle of a window: truth values `[shape, scale, orientation, w, w]`.

    The window has an odd side, so its middle is that of a pixel, and quarter turns map its points to one another. The side of
    the square of scale 1 is 10.5 pixels in an image of 32. All shapes of a scale have the same area.
    """
    reach = (lattice.side - lattice.positions) // 2
    angles = 2 * np.pi * np.arange(lattice.orientations) / lattice.orientations
    turns = np.stack([np.stack([np.cos(angles), -np.sin(angles)], -1), np.stack([np.sin(angles), np.cos(angles)], -1)], -2)
    width = lattice.side * 10.5 / 32
    shape = len(SHAPES), lattice.scales, lattice.orientations, 2 * reach + 1, 2 * reach + 1
    found = np.zeros(shape, bool)
    for i, outline in enumerate(SHAPES.values()):
        for j, scale in enumerate(np.linspace(0.5, 1.0, lattice.scales)):
            for k, turn in enumerate(turns):
                found[i, j, k] = rasterised(width * scale * outline @ turn.T, shape[-1])
    return found


def placed(sprite: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
    """A sprite in its place: bytes `[side, side]`, black and white.

    Args:
      sprite: the sprite in its window, `[w, w]`.
      x: the number of the place along the rows, the first at the left.
      y: the number of the place along the columns, the first at the top.
      side: height and width of the image.
    """
    image = np.zeros((side, side), np.uint8)
    image[y : y + len(sprite), x : x + len(sprite)] = 255 * sprite
    return image


def split(sprites: np.ndarray, positions: int) -> np.ndarray:
    """Truth values `[shape, scale, orientation, x, y]`: the combinations of the test split.

    Sprites that look the same, as a square does after a quarter turn, go to the same split, place by place, so no image of the
    test split is in the training split.

    Args:
      sprites: the sprites as `drawn` gives them.
      positions: the number of places along each axis.
    """
    flat = np.packbits(sprites.reshape(-1, sprites.shape[-1] ** 2), axis=1)
    look = np.unique(flat, axis=0, return_inverse=True)[1].ravel()
    rng = np.random.Generator(np.random.Philox(0))
    held_out = rng.random((int(look.max()) + 1, positions, positions)) < TEST
    return held_out[look].reshape(*sprites.shape[:3], positions, positions)


class SpritesConfig(tfds.core.BuilderConfig):
    """A lattice by name."""

    def __init__(self, lattice: Lattice, **options: Any) -> None:
        super().__init__(**options)
        self.lattice = lattice


class Sprites(tfds.core.GeneratorBasedBuilder):
    """All combinations of shape, scale, orientation and place of a white sprite on black, as in dSprites.

    A square, an ellipse and a heart of the same area. `sprites` has 3 x 4 x 20 x 16 x 16 combinations of 32x32 pixels, in which
    more scales would not differ, and `sprites/full` dSprites' 3 x 6 x 40 x 32 x 32 of 64x64 pixels. About a tenth of the
    different images, by lot, is the test split. A square looks the same after each quarter turn, an ellipse after each half
    turn; images that look the same lie in the same split. No others look the same.

    Source: the factors are those of Matthey et al. 2017 (dSprites). The pictures are not theirs: there the last orientation is
    that of the first, here the angles divide the circle.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar[list[SpritesConfig]] = [
        SpritesConfig(SMALL, name="small", description="61,440 images of 32x32 pixels."),
        SpritesConfig(FULL, name="full", description="737,280 images of 64x64 pixels, the lattice of dSprites."),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        lattice = self.builder_config.lattice
        sizes = {
            "scale": [f"{scale:g}" for scale in np.linspace(0.5, 1.0, lattice.scales)],
            "orientation": [f"{360 * k / lattice.orientations:g}" for k in range(lattice.orientations)],
            "x": [str(k) for k in range(lattice.positions)],
            "y": [str(k) for k in range(lattice.positions)],
        }
        factors = {"shape": list(SHAPES), **sizes}
        return tfds.core.DatasetInfo(
            builder=self,
            description="White shapes on black, and their shape, scale, orientation and place.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(lattice.side, lattice.side, 1), encoding_format="png"),
                    **{name: tfds.features.ClassLabel(names=values) for name, values in factors.items()},
                }
            ),
            homepage="https://github.com/deepmind/dsprites-dataset",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {"train": self._generate_examples(False), "test": self._generate_examples(True)}

    def _generate_examples(self, held_out: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        from PIL import Image

        lattice = self.builder_config.lattice
        sprites = drawn(lattice)
        chosen = split(sprites, lattice.positions) == held_out
        for number, place in enumerate(itertools.product(*map(range, chosen.shape))):
            if chosen[place]:
                *look, x, y = place
                # As a PIL image: encoding an array would need TensorFlow.
                image = Image.fromarray(placed(sprites[tuple(look)], x, y, lattice.side))
                yield number, {"image": image, **dict(zip(("shape", "scale", "orientation", "x", "y"), place, strict=True))}
