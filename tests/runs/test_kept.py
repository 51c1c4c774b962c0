"""Runs that earlier versions wrote must load for ever. A new format keeps a run of its own here, beside the old ones."""

import shutil
from pathlib import Path

import pytest
from games import fit, regression

import jaxgen
from jaxgen.runs import load, run_record
from jaxgen.runs.journal import read_jsonl

KEPT = Path(__file__).parents[1] / "kept"

# Written by fit(regression(steps=8, ema=0.9), ..., log_every=3, save_every=8), without its pictures and event files.
# The first has no averages of variables; of the third the largest value marks the best (`_replace(best=Largest("test/loss"))`).
DIGESTS = {
    1: "169529931e2d051adda3b63b6623fc4041b0086dc126589293e231ae99968901",
    2: "78d1c9382d74557c894f0b85c8fcacb4487866a274bb38a95c715975e42afc35",
    3: "3aa699e951b49bb6a90b0707b95a842b4f22d519a8c1fa666cafae0eed1d404c",
}


def test_every_format_up_to_the_present_one_has_a_kept_run() -> None:
    assert sorted(DIGESTS) == list(range(1, run_record.FORMAT + 1))


@pytest.mark.parametrize("version", DIGESTS)
def test_a_kept_run_loads_evaluates_and_goes_on(version: int, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(KEPT / f"format_{version}", tmp_path / "run"))
    assert load.digest(folder) == DIGESTS[version]
    loaded = jaxgen.load(folder, experiment=regression)
    assert loaded.digest() == DIGESTS[version]
    assert loaded.position == 8
    (reported,) = (line for line in read_jsonl(folder / "metrics.jsonl") if line["split"] == "test")
    assert loaded.evaluate()["test"]["loss"] == pytest.approx(reported["loss"], rel=1e-4)
    assert set(jaxgen.load_params(folder, best=True)) == {"model"}

    # On as it would have gone on, as far as another processor and compiler round alike: Adam takes a gradient that is nothing
    # but rounding at full length. With a fresh optimizer the last loss differs by 2 %.
    resumed = fit(regression(steps=16, ema=0.9), folder, log_every=4)
    assert resumed.position == 16
    whole = fit(regression(steps=16, ema=0.9), log_every=4)
    # The averages of the first format hold the initial parameters, so that only what is trained goes on alike.
    alike = ("train",) if version == 1 else ("train", "test")
    losses = [[line["loss"] for line in r.history if line["step"] > 8 and line["split"] in alike] for r in (resumed, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)
