"""Mistakes with a run and its record: each is answered in a sentence, and nothing is changed."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from contract import make
from mistakes import contents, refused, run

import jaxgen
from jaxgen.runs import load, run_record, workdir

TINY = "--hidden --latents 2 --batch-size 4 --nll-samples 1 --quiet"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    run("vae", [*shlex.split(TINY), "--steps", "2", "--workdir", str(folder)])
    return folder


@pytest.fixture
def a_run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of two steps, `run` in the current folder."""
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("vae --workdir run --steps 1 " + TINY, "^The run in run is at step 2 already, so --steps 1 would go back; give more"),
        ("vae --workdir run --steps 3 --clip 2 " + TINY, r"^run holds a run that differs in --clip \(None there, 2.0 here\)"),
        ("vae --workdir run --steps 3 --seed 1 " + TINY, r"^run holds a run that differs in --seed \(0 there, 1 here\); give"),
        ("vae --workdir run --steps 3 --beta 2 " + TINY, r"^run holds a run that differs in --beta \(1.0 there, 2.0 here\)"),
        ("iwae --workdir run --steps 3", r"^run holds a run that differs in the experiment \(experiments.vae there, "),
        ("jaxgen sample run --step 7 --out s.png", "^The run in run has no checkpoint of step 7; it has 2"),
        ("jaxgen sample run --n 0", "^--n is 0"),
        (
            "jaxgen sample run --out s.doc",
            "^--out is s.doc; name a .png",
        ),
        ("jaxgen sample run --out run/run.json/s.png", "cannot be written .*; name a .png or a .npy file in a folder of yours"),
        ("jaxgen evaluate run --json run", "^--json is run, which is no file in a folder that exists; name one"),
        (
            "jaxgen evaluate run --json nowhere/x.json",
            "^--json is nowhere/x.json, which is no file in a folder that exists; name one",
        ),
        ("jaxgen sample run/samples", "^run/samples holds no run"),
        ("jaxgen sample run/run.json", "^run/run.json holds no run"),
        ("jaxgen sample run --experiment mine.py", "^mine.py is no Python file; name the one that holds the experiment"),
        ("jaxgen sample run --experiment run", "^run is no Python file; name the one"),
        ("jaxgen sample run --experiment experiments.vea", "^There is no experiments.vea here.*`jaxgen list` shows"),
        ("jaxgen sample run --experiment experiments.gan", ": There is no --binarization here; the nearest is --"),
        ("jaxgen sample run --experiment other.py", r": There is no --[a-z-]+ here; (there are|the nearest is) --"),
        ("jaxgen sample run --experiment broken.py", "^broken.py .*line 1"),
        ("jaxgen sample run --experiment without.py", "^without.py .*`?experiment`?"),
        ("jaxgen sample run --seed -1", "^--seed is -1; give a number from 0"),
        ("jaxgen sample run --seed 99999999999999999999", "^--seed is 9+; give a number from 0"),
    ],
)
def test_with_a_run(line: str, sentence: str, capsys: Any, a_run: Path) -> None:
    Path("broken.py").write_text("def experiment(:\n")
    Path("without.py").write_text("x = 1\n")
    Path("other.py").write_text(
        "import jaxgen\n\n\n@jaxgen.recorded\ndef experiment(*, dataset: str = '', steps: int = 1) -> jaxgen.Experiment: ...\n"
    )
    before = contents(Path())
    command, *args = shlex.split(line)
    told = refused(capsys, lambda: run(command, args))
    assert re.search(sentence, told), told
    assert contents(Path()) == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("{", "run.json is damaged: it is not the JSON that a run writes; restore it from a copy"),
        ("", "run.json is damaged"),
        ("[1]", "run.json is damaged"),
        ('"x"', "run.json is damaged"),
        ({"format": None}, "run.json is damaged"),
        ({"format": "1"}, "run.json is damaged"),
        ({"format": -1}, "run.json is damaged"),
        ({"format": 99}, "run was written by a newer jaxgen .*; upgrade jaxgen"),
        ({"flags": None}, "run.json is damaged"),
        ({"flags": []}, "run.json is damaged"),
        ({"seed": "0"}, "run.json is damaged"),
        ({"seed": 1.5}, "run.json is damaged"),
        ({"seed": True}, "run.json is damaged"),
        ({"seed": -1}, "run.json is damaged"),
        ({"data": None}, "run.json is damaged"),
        ({"experiment": 3}, "run.json is damaged"),
        ({"experiment": "experiments.vea"}, "There is no experiments.vea here, which run needs; `jaxgen list` shows"),
        ({"experiment": None}, "run has no flags on record; give load\\(\\) its experiment, or the function that makes it"),
        pytest.param(
            {"experiment": "mine.py", "file": "/x/mine.py"},
            "run was trained by a file of its user.*--experiment /x/mine.py",
        ),
    ],
    ids=str,
)
def test_with_a_changed_record(change: Any, sentence: str, capsys: Any, a_run: Path) -> None:
    record = json.loads((a_run / "run.json").read_text())
    (a_run / "run.json").write_text(change if isinstance(change, str) else json.dumps({**record, **change}))
    assert re.search(sentence, refused(capsys, lambda: run("jaxgen", ["sample", "run", "--out", "s.npy"])))
    assert not Path("s.npy").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"latents": "2"}, ": --latents is 2; give a whole number"),
        ({"latents": 0}, ": --latents is 0; give 1 or more"),
        ({"hidden": 8}, ": --hidden is 8; give a tuple"),
        ({"beta": float("nan")}, ": --beta is nan; give a finite number"),
        ({"latnets": 2}, ": There is no --latnets here; the nearest is --latents"),
        ({"latents": 3}, "does not fit this experiment: .* there and .* here"),
    ],
    ids=str,
)
def test_with_a_changed_flag_on_record(flags: dict[str, Any], sentence: str, capsys: Any, a_run: Path) -> None:
    record = json.loads((a_run / "run.json").read_text())
    record["flags"] |= flags
    (a_run / "run.json").write_text(json.dumps(record))
    assert re.search(sentence, refused(capsys, lambda: run("jaxgen", ["sample", "run", "--out", "s.npy"])))


def test_parameters_of_another_run(a_run: Path) -> None:
    for reader in (jaxgen.load_params, jaxgen.load, load.digest):
        with pytest.raises(jaxgen.UserError, match=r"^nowhere holds no run"):
            reader("nowhere")
    with pytest.raises(jaxgen.UserError, match=r"^The run in run has no checkpoint of step 9; it has 2"):
        jaxgen.load_params("run", step=9)
    assert set(jaxgen.load_params(a_run)) == {"model"}
    shutil.rmtree(a_run / "checkpoints")
    with pytest.raises(jaxgen.UserError, match=r"^The run in .* has no checkpoint yet; train it, with a smaller --save-every"):
        jaxgen.load_params(a_run)


@pytest.mark.parametrize("line", ["vae --workdir ''", "jaxgen sample ''", "jaxgen evaluate ''", "jaxgen sample run --out ''"])
def test_an_empty_path(line: str, capsys: Any, a_run: Path) -> None:
    before = contents(Path())
    command, *args = shlex.split(line)
    assert "A path is empty; name a file or a folder" in refused(capsys, lambda: run(command, args))
    assert contents(Path()) == before


@pytest.mark.parametrize("name", ["my run", "run $1", "it's", "~run"])
def test_what_is_printed_to_copy_works_when_pasted(name: str, a_run: Path, monkeypatch: Any) -> None:
    moved = Path(shutil.move(a_run, a_run.with_name(name)))
    printed = workdir.read(moved).arguments
    assert shlex.split(printed) == [str(moved)]
    monkeypatch.setenv("HOME", str(moved.parent))
    run("jaxgen", ["sample", *shlex.split(printed), "--n", "4", "--out", "~/out here.png"])
    assert (moved.parent / "out here.png").is_file()


@pytest.mark.parametrize(
    ("flags_there", "reason"),
    [
        ({"latents": 2, "whitening": True}, "There is no --whitening here"),
        ({"network": "transformer"}, "--network is transformer; give one of mlp, conv, residual"),
        ({"latents": 0}, "--latents is 0; give 1 or more"),
        ({"hidden": 8}, "--hidden is 8; give a tuple"),
    ],
    ids=str,
)
def test_flags_that_another_version_recorded(flags_there: dict[str, Any], reason: str, tmp_path: Path) -> None:
    for version, told in (("7.0", " (it was written by jaxgen 7.0, this is "), (jaxgen.__version__, "")):
        record = run_record.describe(make("vae", steps=0), 0)
        record |= {"flags": {**record["flags"], **flags_there}, "versions": {"jaxgen": version}}
        workdir.Workdir(tmp_path, record).write()
        with pytest.raises(jaxgen.UserError) as caught:
            jaxgen.load(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path} has flags on record that this code does not take{told}")
        assert reason in str(caught.value)
