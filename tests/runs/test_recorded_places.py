"""A flag that is a file or a folder is on record by its absolute place, so that a run is loaded from any folder."""

import json
from pathlib import Path

import genforce_files
import numpy as np
import pytest
from contract import make

import jaxgen


def test_a_run_that_began_with_a_file_of_weights_is_loaded_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    held = genforce_files.drawn(genforce_files.generator((4, 3), 4, 1), prefix="generator.")
    held |= genforce_files.drawn(genforce_files.discriminator((4, 3), 1), prefix="discriminator.")
    numpy.save_file(held, tmp_path / "both.safetensors")
    monkeypatch.chdir(tmp_path)
    flags = {"channels": (3, 4), "latents": 4, "weights": Path("both.safetensors"), "steps": 1}
    run = jaxgen.fit(make("progressive_gan", **flags)._replace(pictures={}, evaluators={}), workdir="run", quiet=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    recorded = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert recorded["flags"]["weights"] == str(tmp_path / "both.safetensors")
    np.testing.assert_array_equal(jaxgen.load(tmp_path / "run").sample(3), run.sample(3))
    # The values are in the checkpoint: the run is loaded and goes on without the file.
    (tmp_path / "both.safetensors").unlink()
    np.testing.assert_array_equal(jaxgen.load(tmp_path / "run").sample(3), run.sample(3))
    flags = {**flags, "weights": tmp_path / "both.safetensors", "steps": 2}
    longer = make("progressive_gan", **flags)._replace(pictures={}, evaluators={})
    assert int(jaxgen.fit(longer, workdir=tmp_path / "run", quiet=True).state.step) == 2
