"""Pairs of random images and segmentations, and what translates pictures of a folder."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import jaxgen
from jaxgen import data
from jaxgen.commands.main import main


def pairs(n: int = 8, **arrays: Any) -> data.Source:
    """Images of 8x8 pixels with one of three classes for each pixel."""
    rng = np.random.default_rng(0)
    rows = {"image": rng.integers(0, 256, (n, 8, 8, 3)), "segmentation": rng.integers(0, 3, (n, 8, 8, 1))} | arrays
    return data.from_arrays({name: a.astype(np.uint8) for name, a in rows.items()}, name="pairs")


def assert_a_run_translates_a_folder(made: jaxgen.Experiment, folder: Path) -> None:
    """Without the data that the run was trained on, which exist in memory alone."""
    jaxgen.fit(made._replace(evaluators={}, final={}, pictures={}), workdir=folder / "run", quiet=True)
    pictures = folder / "given"
    pictures.mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(pictures / f"{name}.png")
    main(["translate", str(folder / "run"), str(pictures), "--out", str(folder / "made")])
    assert sorted(path.name for path in (folder / "made").glob("*")) == ["a.png", "b.png"]
