"""The variants of DDPM and NCSN."""

from pathlib import Path
from typing import Any

import contract
import pytest
from contract import make

import jaxgen

DDPM: list[dict[str, Any]] = [
    {
        "schedule": "cosine",
        "parameterisation": "v",
        "sampler": "ddim",
        "labels": True,
        "modulation": "adaptive",
        "bf16": True,
        "remat": True,
        "flip": True,
    },
    {"parameterisation": "score", "variance": "large", "sampling_steps": None, "accumulate": 2},
]


@pytest.mark.parametrize("flags", DDPM, ids=contract.titled)
def test_ddpm(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("ddpm", flags, tmp_path)


def test_ncsn_told_by_group_normalisation(tmp_path: Path) -> None:
    contract.hold("ncsn", {"modulation": "adaptive", "levels": 3}, tmp_path)


@pytest.mark.parametrize(
    ("name", "flags", "says"),
    [
        ("ddpm", {"sampling_steps": 7}, "more than --timesteps"),
        ("ncsn", {"largest": 0.001}, "larger --largest"),
    ],
)
def test_flags_that_do_not_go_together(name: str, flags: dict[str, Any], says: str) -> None:
    with pytest.raises(jaxgen.UserError, match=says):
        make(name, **flags)


def test_labels_that_do_not_exist(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / split / "a.png")
    with pytest.raises(jaxgen.UserError, match="no classes"):
        make("ddpm", dataset=str(tmp_path), labels=True)
