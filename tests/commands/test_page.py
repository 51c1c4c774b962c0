"""`jaxgen page`: runs side by side, with samples, figures, and metrics against network evaluations."""

import importlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from contract import make
from mistakes import refused

import jaxgen
from jaxgen.commands.main import main
from jaxgen.errors import FewExamplesWarning, UserError
from jaxgen.runs.run import Run

RUNS = {"vae": {}, "flow_matching": {"sampler": "euler", "sampling_steps": 3}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("page")
    for name, flags in RUNS.items():
        made = make(name, steps=2, **flags)
        made = made if name == "vae" else made._replace(evaluators={}, final={}, pictures={})
        jaxgen.fit(made, workdir=str(folder / name), quiet=True, save_every=2)
    return {name: folder / name for name in RUNS}


def page(runs: dict[str, Path], out: Path, *flags: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewExamplesWarning)
        main(["page", *map(str, runs.values()), "--out", str(out), "--n", "100", "--shown", "4", *flags])
    return (out / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_page_shows_runs_beside_each_other_and_keeps_what_it_measured(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    text = page(trained, tmp_path / "out", "--sampling-steps", "2", "4")
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out" / "README.md")
    rows = re.findall(r"^\| (\w+) \| (.+) \| ([\d.]+) \| (.+) \|$", text, flags=re.MULTILINE)
    # A flag that a run does not have is left out for it; every value stands at the evaluations that it took.
    assert [row[:3] for row in rows if row[0] in RUNS and "`" not in row[1]] == [
        ("vae", "as trained", "1"),
        ("flow_matching", "--sampling-steps 2", "2"),
        ("flow_matching", "--sampling-steps 4", "4"),
    ]
    by_hand = jaxgen.load(trained["flow_matching"], anew={"sampling_steps": 4}).measure(["frechet"], n=100, seed=0)
    assert rows[-1][3] == f"{by_hand['frechet_pixels'].value:.5g}"
    parameters = sum(x.size for x in jax.tree.leaves(jaxgen.load(trained["vae"]).state.params))
    assert re.search(rf"`experiments\.vae .*` \| 2 \| {parameters:,} \| .*nll [\d.]+ \+- [\d.]+", text)
    linked = re.findall(r"\]\((.+?\.png)\)", text)
    assert sorted(linked) == ["frechet_pixels.png", "samples/flow_matching.png", "samples/vae.png"]
    assert all((tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG") for name in linked)

    # The same command measures nothing again; a run that was trained further is measured anew, and the others are not.
    measured = []
    true = Run.measure
    monkeypatch.setattr(Run, "measure", lambda run, *args, **how: measured.append(run.workdir) or true(run, *args, **how))
    assert page(trained, tmp_path / "out", "--sampling-steps", "2", "4") == text
    assert measured == []
    page(trained, tmp_path / "out", "--sampling-steps", "2", "5")
    assert [path.name for path in measured] == ["flow_matching"]
    jaxgen.fit(make("vae", steps=3), workdir=str(trained["vae"]), quiet=True, save_every=3)
    page(trained, tmp_path / "out", "--sampling-steps", "2", "5")
    assert [path.name for path in measured] == ["flow_matching", "vae"]
    assert len(json.loads((tmp_path / "out" / "values.json").read_text())) == 5


def test_a_setting_that_a_run_refuses_is_named_on_the_page(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choosy(path: Path, **how: Any) -> Run:
        if (how.get("anew") or {}).get("sampling_steps") == 100:
            raise UserError("The chain has 6 steps; give fewer.")
        return jaxgen.load(path, **how)

    monkeypatch.setattr(importlib.import_module("jaxgen.runs.load"), "load", choosy)
    flow = {"flow_matching": trained["flow_matching"]}
    text = page(flow, tmp_path / "out", "--sampling-steps", "2", "100")
    assert text.endswith("Not measured:\n\n- flow_matching, --sampling-steps 100: The chain has 6 steps; give fewer.\n")
    assert "| flow_matching | --sampling-steps 2 | 2 |" in text


def test_mistakes(trained: dict[str, Path], tmp_path: Path, capsys) -> None:
    vae, out = str(trained["vae"]), str(tmp_path / "out")
    assert "Name the runs" in refused(capsys, lambda: main(["page", "--out", out]))
    assert "--out" in refused(capsys, lambda: main(["page", vae]))
    for name, sentence in {"lenet": "generates nothing", "modes": "points and no images"}.items():
        jaxgen.fit(make(name, steps=1)._replace(evaluators={}, final={}, pictures={}), workdir=tmp_path / name, quiet=True)
        assert sentence in refused(capsys, lambda name=name: main(["page", str(tmp_path / name), "--out", out]))
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(capsys, lambda: main(["page", vae, "--out", str(tmp_path / "file")]))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "values.json").write_text("no json")
    assert "holds no values" in refused(capsys, lambda: main(["page", vae, "--out", out]))
    (tmp_path / "out" / "values.json").unlink()
    images = np.random.default_rng(0).integers(256, size=(20, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "other.npz", train_image=images, test_image=images)
    jaxgen.fit(make("vae", steps=1, dataset=str(tmp_path / "other.npz")), workdir=str(tmp_path / "other"), quiet=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewExamplesWarning)
        said = refused(capsys, lambda: main(["page", vae, str(tmp_path / "other"), "--out", out, "--n", "50"]))
    assert "put runs on one set on a page" in said
