"""The variants of MUNIT, and folders of pictures that a run translates."""

from pathlib import Path
from typing import Any

import contract
import numpy as np
import pytest
from contract import make
from PIL import Image
from segmented import assert_a_run_translates_a_folder

import jaxgen
from jaxgen import data
from jaxgen.commands.main import main


def colours(n: int = 8, seed: int = 0) -> data.Source:
    image = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
    return data.from_arrays({"image": image}, name=f"colours {seed}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"loss": "non_saturating", "cycle": 10.0, "bf16": True, "ema": 0.9, "direction": "b_to_a", "scales": 1},
        {"flip": True, "jitter": 2, "styles": 0, "classifier_steps": 0, "accumulate": 2, "halvings": 0, "weight_decay": 0.0},
        {"halvings": 2, "style_halvings": 3, "residuals": 2, "classifier_steps": 0},
    ],
    ids=contract.titled,
)
def test_variants(flags: dict[str, Any], tmp_path: Path) -> None:
    contract.hold("munit", flags, tmp_path)


@pytest.mark.slow
def test_a_run_translates_folders_in_both_directions_and_in_the_style_of_an_example(tmp_path: Path) -> None:
    made = make("munit", dataset=(colours(), colours(3)), target=(colours(6, 1), colours(4, 1)), steps=1)
    assert_a_run_translates_a_folder(made, tmp_path)
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (12, 12, 3)).astype(np.uint8)).save(tmp_path / "example.png")
    found = {}
    for name, flags in (
        ("drawn", []),
        ("other", ["--seed", "5"]),
        ("back", ["--direction", "b_to_a"]),
        ("guided", ["--example", str(tmp_path / "example.png")]),
        ("guided anew", ["--example", str(tmp_path / "example.png"), "--seed", "5"]),
    ):
        main(["translate", str(tmp_path / "run"), str(tmp_path / "given"), "--out", str(tmp_path / name), *flags])
        found[name] = np.asarray(Image.open(tmp_path / name / "a.png")).astype(int)
    np.testing.assert_array_equal(found["guided"], found["guided anew"])
    for one, another in (("drawn", "other"), ("drawn", "back"), ("drawn", "guided")):
        assert np.abs(found[one] - found[another]).max() > 0


@pytest.mark.slow
def test_an_example_is_read_when_a_run_is_loaded(tmp_path: Path) -> None:
    made = make("munit", steps=1)._replace(evaluators={}, final={}, pictures={})
    jaxgen.fit(made, workdir=tmp_path / "run", quiet=True)
    with pytest.raises(jaxgen.UserError, match=r"none\.png cannot be read as an image"):
        jaxgen.load(tmp_path / "run", anew={"example": tmp_path / "none.png"})
