"""Pictures of a run: grids of images with a caption, as PNG."""

import base64
import html
import io
import warnings
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np


class Picture(NamedTuple):
    """A grid of images.

    Fields:
      images: `[N, H, W, C]` in [0, 1], row by row, with one channel or three.
      columns: images in a row.
      caption: what is to be seen, in a sentence.
    """

    images: Any
    columns: int
    caption: str

    def __repr__(self) -> str:
        n, *sides = np.shape(self.images)
        return f"Picture of {n} images of {'x'.join(map(str, sides))}, {self.columns} in a row: {self.caption}"

    def _repr_png_(self) -> bytes:
        """What a notebook shows of it."""
        file = io.BytesIO()
        _draw(self, file, width=800)
        return file.getvalue()


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
    """Writes the grid as a PNG, small images enlarged by a whole factor without smoothing.

    Args:
      picture: what to draw.
      path: where to; its folder is made.
      width: pixels that the grid is enlarged to fill, at most.

    Returns:
      The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _draw(picture, path, width=width)
    return path


def _draw(picture: Picture, file: Path | IO[bytes], *, width: int) -> None:
    from matplotlib.figure import Figure

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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter of a caption that the font does not have is a box
        figure.savefig(file)
