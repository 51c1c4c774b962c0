"""Pictures of a run: grids of images with a caption, as PNG."""

import base64
import html
import io
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen.errors import UserError

LARGEST = 16_384
"""Pixels of a picture along a side, at most: what programs that show pictures can open."""


class Picture(NamedTuple):
    """A grid of images.

    Fields:
      images: the images, `[N, H, W, C]` in [0, 1], row by row, with one channel or three.
      columns: images in a row.
      caption: a sentence that describes the picture.
    """

    images: Any
    columns: int
    caption: str

    def __repr__(self) -> str:
        n, *sides = np.shape(self.images)
        return f"Picture of {n} images of {'x'.join(map(str, sides))}, {self.columns} in a row: {self.caption}"

    def _repr_png_(self) -> bytes:
        """The PNG that a notebook shows."""
        return encode(self, width=800)


class Album(dict[str, Picture]):
    """Pictures by name, which a notebook shows."""

    def _repr_html_(self) -> str:
        shown = {name: base64.b64encode(picture._repr_png_()).decode() for name, picture in self.items()}
        return "".join(f'<p>{html.escape(name)}</p><img src="data:image/png;base64,{png}">' for name, png in shown.items())


def tile(images: np.ndarray, columns: int, *, gap: int = 1) -> np.ndarray:
    """`[N, H, W, C]` as one image, row by row, `gap` white pixels between neighbours.

    >>> tile(np.zeros((3, 8, 8, 1)), columns=2).shape
    (17, 17, 1)
    """
    n, h, w, c = images.shape
    rows = -(-n // columns)
    canvas = np.ones((rows * (h + gap) - gap, columns * (w + gap) - gap, c), np.float32)
    for i, image in enumerate(images):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        canvas[top : top + h, left : left + w] = image
    return canvas


def save(picture: Picture, path: Path, *, width: int = 1200) -> Path:
    """Writes the grid as a PNG; after a crash the file is whole or not there.

    Args:
      picture: the picture to draw.
      path: the path of the file; its folder is made.
      width: the width in pixels, as in `encode`.

    Returns:
      The path.
    """
    write(encode(picture, width=width), path)
    return path


def write(png: bytes, path: Path) -> None:
    """Writes a PNG to a file whose folder is made; after a crash the file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.tmp")
    try:
        scratch.write_bytes(png)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def encode(picture: Picture, *, width: int = 1200) -> bytes:
    """The grid as a PNG, small images enlarged by a whole factor without smoothing.

    Args:
      picture: the picture to draw.
      width: pixels that the grid is enlarged to fill, at most.

    Returns:
      The bytes of the file.

    Raises:
      UserError: if the grid has more than `LARGEST` pixels along a side.
    """
    from matplotlib.figure import Figure

    n, height, across, _ = np.shape(picture.images)
    rows = -(-n // picture.columns)
    if max(rows * (height + 1), picture.columns * (across + 1)) > LARGEST:
        raise UserError(
            f"{n:,} images of {height}x{across} are too many for one picture of {picture.columns:,} columns; a picture has at "
            f"most {LARGEST:,} pixels along a side."
        )
    images = np.clip(np.asarray(picture.images, np.float32), 0.0, 1.0)
    canvas = tile(images, picture.columns)
    factor = max(1, width // canvas.shape[1])
    dpi, line = 100, 34
    w, h = max(canvas.shape[1] * factor, 420), canvas.shape[0] * factor
    lines = 1 + len(picture.caption) * 7 // w
    figure = Figure(figsize=(w / dpi, (h + line * lines) / dpi), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, h / (h + line * lines)))
    axes.imshow(canvas.squeeze(-1) if canvas.shape[-1] == 1 else canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    figure.text(0.01, 1 - 8 / (h + line * lines), picture.caption, va="top", fontsize=9, wrap=True)
    png = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter of a caption that the font does not have is a box
        figure.savefig(png, format="png")
    return png.getvalue()
