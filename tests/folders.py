"""Folders of pictures, as a user of them has."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxgen import data


def picture(path: Path, value: int = 7, side: int = 4, **how: Any) -> Path:
    """Writes a picture of one value, and gives its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(path, **how)
    return path


def seen(folder: Path) -> tuple[list[int], list[int] | None, tuple[str, ...]]:
    """Values, labels and names of the classes."""
    source = data.from_folder(folder)
    batch = source.gather(np.arange(source.length))
    labels = batch["label"].tolist() if "label" in batch else None
    return batch["image"][:, 0, 0, 0].tolist(), labels, source.classes.get("label", ())
