"""The ledger: commands that parse, values that were measured, records that are whole, pages that say what the records do."""

import hashlib
import importlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from jaxgen.experiments.ledger import page, records, reproduce
from jaxgen.experiments.ledger.row import Chosen, Figure, Row
from jaxgen.experiments.ledger.rows import ROWS
from jaxgen.experiments.ledger.verdict import estimate, verdict

from jaxgen import best, disk, flags
from jaxgen.commands import command_line
from jaxgen.commands.main import main
from jaxgen.errors import UserError
from jaxgen.runs import journal

ROOT = Path(__file__).parents[1]
TINY = Row(
    system="VAE",
    dataset="digits",
    figure="NLL",
    unit="nats",
    command="python -m experiments.vae --dataset digits --hidden 8 --latents 2 --steps 4 --nll-samples 2",
    value="test/nll",
    paper=Figure(40.0, 100.0, "an author", "a repository"),
    chosen={"all": Chosen.OWN},
    also=("test/elbo",),
    seeds=2,
)


@pytest.mark.parametrize("name", ROWS)
def test_every_command_parses(name: str) -> None:
    for stage in reproduce.stages(ROWS[name], "somewhere", Path("runs") / name / "3"):
        command = command_line.parse(stage.experiment, [*stage.flags, "--seed", "3"])
        flags.check(stage.experiment, command.own)
        assert command.loop["seed"] == 3


def test_a_command_that_does_not_parse_is_noticed(capsys) -> None:
    function = importlib.import_module("experiments.vae").experiment
    with pytest.raises(SystemExit):
        command_line.parse(function, ["--no-such-flag", "1"])
    assert "no-such-flag" in capsys.readouterr().err


@pytest.mark.parametrize("name", records.read())
def test_no_value_was_typed(name: str) -> None:
    record, row = json.loads((records.RESULTS / f"{name}.json").read_text("utf-8")), ROWS[name]
    assert (record["row"], record["command"], record["value"]) == (name, row.command, row.value)
    seeds = [run["seed"] for run in record["runs"]]
    assert seeds == sorted(set(seeds))
    for run in record["runs"]:
        path = records.RESULTS / run["metrics"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == run["sha256"]
        lines = journal.read_jsonl(path)
        assert reproduce.value_of(row, lines) == (run["step"], run["value"])
        assert run.get("error") == reproduce.error_of(row, lines, run["step"])
        assert run["also"] == {name: best.evaluated(lines, name).get(run["step"]) for name in row.also}
        assert run["seconds"] > 0
        assert run["device"]
        assert run["date"]
    for entry in record.get("history", []):
        assert entry.keys() == {"value", "error", "seeds", "date", "command", "reason"}
        assert entry["reason"]


def named(results: Path) -> set[str]:
    """The files that the records of a folder name, and the records."""
    found = {path: json.loads(path.read_text("utf-8")) for path in results.glob("*.json")}
    return {path.name for path in found} | {run["metrics"] for record in found.values() for run in record["runs"]}


def there(results: Path) -> set[str]:
    """The files that are in a folder of records."""
    return {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()}


def test_no_record_is_left_over() -> None:
    assert there(records.RESULTS) == named(records.RESULTS)
    assert {path.stem for path in records.RESULTS.glob("*.json")} <= ROWS.keys()


def test_a_row_of_two_stages_trains_both_and_speaks_of_the_second(tmp_path: Path, monkeypatch) -> None:
    first = "python -m experiments.vqvae --dataset digits --channels 4 8 --codes 4 --features 4 --blocks 0 --steps 2"
    second = "python -m experiments.code_prior --autoencoder RUN1 --dataset digits --width 8 --depth 1 --steps 2"
    row = TINY._replace(command=f"{first} && {second}", value="train/loss", also=("test/bits_per_code",), seeds=1)
    monkeypatch.setitem(ROWS, "tiny", row)
    record = reproduce.reproduce("tiny", data_dir=None, runs=tmp_path / "runs", results=tmp_path / "results")
    (run,) = record["runs"]
    assert {path.name for path in (tmp_path / "runs" / "tiny").iterdir()} == {"0", "0-1"}
    lines = journal.read_jsonl(tmp_path / "runs" / "tiny" / "0" / "metrics.jsonl")
    assert run["value"] == next(line["loss"] for line in lines if line["split"] == "train")
    assert run["also"]["test/bits_per_code"] == next(line["bits_per_code"] for line in lines if line["split"] == "test")
    assert run["code"] == [reproduce.code_version()]
    kept = journal.read_jsonl(tmp_path / "results" / run["metrics"])
    assert (reproduce.value_of(row, kept), [line["split"] for line in kept]) == ((2, run["value"]), [x["split"] for x in lines])


def test_the_pages_are_what_the_records_say() -> None:
    assert page.PAGE.read_text("utf-8") == page.page(), "run `jaxgen ledger`"
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme == page.put(readme, page.table()), "run `jaxgen ledger`"


def test_the_page_shows_what_each_row_knows() -> None:
    text, found = page.page(), records.read()
    for name, row in ROWS.items():
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert row.command in section
        for figure in (row.paper, row.rerun):
            assert figure is None or (figure.source in section and (figure.read_in or "read nowhere") in section)
        for what, chosen in row.chosen.items():
            assert f"{what}: {chosen}" in section
        for entry in found.get(name, {"history": []})["history"]:
            assert f"Before: {page.number(entry['value'], entry['error'])}" in section
            assert entry["reason"] in section
        ours = estimate(found[name]) if name in found else None
        assert ours is None or ours.error is not None or "no error on record" in section


def test_a_row_is_made_by_its_command_and_goes_on(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setitem(ROWS, "tiny", TINY)
    committed = there(records.RESULTS)
    args = ["reproduce", "tiny", "--runs", str(tmp_path / "runs"), "--seeds", "0", "1"]
    main(args)
    said = capfd.readouterr().out
    assert "tiny, yours: " in said
    assert "(2 seeds, standard deviation " in said
    assert "; reproduced\n" in said
    assert "tiny, committed: not run\n" in said
    assert "tiny, the paper's: 40 +- 100; an author\n" in said
    results = tmp_path / "runs" / "results"
    assert there(results) == named(results)
    assert there(records.RESULTS) == committed
    record = records.read(results)["tiny"]
    for run in record["runs"]:
        lines = journal.read_jsonl(tmp_path / "runs" / "tiny" / str(run["seed"]) / "metrics.jsonl")
        assert run["value"] == next(line["nll"] for line in lines if "nll" in line)
        assert run["step"] == 4
        assert run["also"]["test/elbo"] < 0
        assert run["code"] == [reproduce.code_version()]
    assert record["runs"][0]["value"] != record["runs"][1]["value"]
    assert record["runs"][0]["config"] == record["runs"][1]["config"]
    assert record["history"] == []


QUICK = """
import json, pathlib, sys

def of(flag):
    return sys.argv[sys.argv.index(flag) + 1]

folder, seed = pathlib.Path(of("--workdir")), int(of("--seed"))
if str(seed) in pathlib.Path("FAILS").read_text().split():
    sys.exit("no disk left")
folder.mkdir(parents=True, exist_ok=True)
run = {"format": 1, "experiment": "quick", "file": None, "flags": {}, "steps": 9, "seed": seed, "best": ""}
run["data"] = {"names": ["quick"], "fingerprint": "0" * 16}
run["versions"] = {"jaxgen": "0.1.0", "jax": "1", "flax": "1"}
(folder / "run.json").write_text(json.dumps(run))
value = float(pathlib.Path("VALUE").read_text()) + seed
line = {"step": 9, "split": "test", "nll": value, "nll_stderr": 0.5, "elbo": -1.0}
(folder / "metrics.jsonl").write_text(json.dumps(line) + "\\n")
"""


class Quick:
    """A row whose runs take no time: what they measure, and with which seeds they fail, can be set."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.results = folder, folder / "results"
        text = QUICK.replace("FAILS", str(folder / "fails")).replace("VALUE", str(folder / "value"))
        (folder / "quick.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setitem(ROWS, "tiny", TINY._replace(command="python -m quick", seeds=3))
        monkeypatch.setattr(reproduce, "code_version", lambda: self.code)
        self.code: dict[str, Any] = {"commit": "a" * 40, "dirty": False}

    def run(self, *, value: float = 10.0, fails: str = "", **options: Any) -> dict[str, Any]:
        (self.folder / "value").write_text(str(value))
        (self.folder / "fails").write_text(fails)
        options.setdefault("runs", self.folder / "runs")
        return reproduce.reproduce("tiny", data_dir=None, results=self.results, **options)


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quick:
    return Quick(tmp_path, monkeypatch)


def test_one_that_is_half_finished_leaves_the_old_record_and_goes_on(quick: Quick) -> None:
    with pytest.raises(UserError, match="ended with 1, for the reason above"):
        quick.run(fails="1")
    assert not quick.results.exists()
    quick.run()
    before = {path: (quick.results / path).read_bytes() for path in there(quick.results)}
    with pytest.raises(UserError, match="goes on there"):
        quick.run(value=20.0, fails="2", runs=quick.folder / "again")
    assert {path: (quick.results / path).read_bytes() for path in there(quick.results)} == before
    record = quick.run(value=20.0, runs=quick.folder / "again")
    assert [run["value"] for run in record["runs"]] == [20.0, 21.0, 22.0]
    assert [run["error"] for run in record["runs"]] == [0.5, 0.5, 0.5]
    assert there(quick.results) == named(quick.results)
    assert len(there(quick.results)) == 4


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3])
def test_a_record_names_what_is_there_wherever_the_writing_ends(fails_at: int, quick: Quick, monkeypatch) -> None:
    quick.run()
    real, calls = disk.write, iter(range(100))

    def write(path: Path, text: str) -> None:
        if next(calls) == fails_at:
            raise OSError(28, "No space left on device")
        real(path, text)

    monkeypatch.setattr(disk, "write", write)
    with pytest.raises(UserError, match="the disk is full"):
        quick.run(value=20.0, runs=quick.folder / "again")
    assert named(quick.results) <= there(quick.results)
    record = records.read(quick.results)["tiny"]
    assert [run["value"] for run in record["runs"]] == [10.0, 11.0, 12.0]
    for run in record["runs"]:
        assert hashlib.sha256((quick.results / run["metrics"]).read_bytes()).hexdigest() == run["sha256"]
    monkeypatch.setattr(disk, "write", real)
    quick.run(value=20.0, runs=quick.folder / "again")
    assert there(quick.results) == named(quick.results)


def test_seeds_can_be_chosen_and_join_those_that_were_made_alike(quick: Quick) -> None:
    assert [run["seed"] for run in quick.run(seeds=(7, 0))["runs"]] == [0, 7]
    record = quick.run(seeds=(3,))
    assert [run["seed"] for run in record["runs"]] == [0, 3, 7]
    assert record["history"] == []
    quick.code = {"commit": "b" * 40, "dirty": False}
    record = quick.run(seeds=(1,))
    assert [run["seed"] for run in record["runs"]] == [1]
    assert [(entry["seeds"], entry["reason"]) for entry in record["history"]] == [([0, 3, 7], "run again with another code")]
    assert there(quick.results) == named(quick.results)


def test_what_a_value_was_before_stays_with_the_reason(quick: Quick, monkeypatch) -> None:
    quick.run()
    record = quick.run(value=20.0, runs=quick.folder / "again", reason="the averages are debiased")
    assert [entry["reason"] for entry in record["history"]] == ["the averages are debiased"]
    assert record["history"][0]["value"] == 11.0
    assert record["history"][0]["seeds"] == [0, 1, 2]
    # The same values again, if by another commit, are no change.
    quick.code = {"commit": "b" * 40, "dirty": True}
    assert quick.run(value=20.0, runs=quick.folder / "third")["history"] == record["history"]
    # The row's command becomes another: its values are history at once, and no row is judged by what another command measured.
    monkeypatch.setitem(ROWS, "tiny", ROWS["tiny"]._replace(command="python -m quick "))
    read = records.read(quick.results)["tiny"]
    assert [entry["value"] for entry in read["history"]] == [11.0, 21.0]
    assert verdict(ROWS["tiny"], read).status == "not run"
    assert len(quick.run(value=20.0)["history"]) == 2


def test_code_that_only_looks_at_a_finished_run_has_no_part_in_it(quick: Quick) -> None:
    first = quick.run(seeds=(0,))["runs"][0]["code"]
    quick.code = {"commit": "b" * 40, "dirty": False}
    assert quick.run(seeds=(0,))["runs"][0]["code"] == first == [{"commit": "a" * 40, "dirty": False}]


def test_the_version_of_the_code(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    unknown = {"commit": None, "dirty": None}
    assert reproduce.code_version(tmp_path) == unknown
    git("init")
    assert reproduce.code_version(tmp_path) == unknown  # no commit yet
    for path in ("a.py", "README.md", "experiments/ledger/results/x.json"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("1")
    git("add", ".")
    git("commit", "-m", "one")
    assert reproduce.code_version(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    # What the ledger writes itself is no change of the code, lest the second row of a day be called changed.
    (tmp_path / "README.md").write_text("2")
    (tmp_path / "experiments/ledger/results/x.json").write_text("2")
    assert reproduce.code_version(tmp_path)["dirty"] is False
    (tmp_path / "a.py").write_text("2")
    assert reproduce.code_version(tmp_path)["dirty"] is True
    # Installed somewhere below a user's own repository: that repository's commit says nothing of this code.
    assert reproduce.code_version(tmp_path / "experiments") == unknown


STOPPABLE = """
import os, pathlib, signal, sys, time

folder = pathlib.Path(sys.argv[sys.argv.index("--workdir") + 1])
folder.mkdir(parents=True)

def stop(signum, frame):
    seconds = folder / "seconds.txt"
    while not seconds.exists() or len(seconds.read_text().splitlines()) < 3:  # if it were killed, the time would be on record
        time.sleep(0.01)
    (folder / "saved").touch()
    sys.exit(CODE)

signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
(folder / "process").symlink_to(str(os.getpid()))
time.sleep(60)
"""


# A run may die of the signal before it can hear it, and may have ended just then.
@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGTERM, 1), (signal.SIGTERM, 0)]
)
def test_a_run_that_is_to_stop_saves_first(signum: int, code: int, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "stoppable.py").write_text(STOPPABLE.replace("CODE", str(code)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(reproduce, "MINUTE", 0.1)
    monkeypatch.setitem(ROWS, "tiny", TINY._replace(command="python -m stoppable"))
    folder = tmp_path / "runs" / "tiny" / "0"

    def ask() -> None:
        while not (folder / "process").is_symlink():
            time.sleep(0.01)
        os.kill(os.getpid(), signum)
        if signum == signal.SIGINT:  # of a terminal
            os.kill(int((folder / "process").readlink().name), signum)

    handler, asked = signal.getsignal(signum), threading.Thread(target=ask)
    asked.start()
    with pytest.raises(SystemExit) as stopped:
        reproduce.reproduce("tiny", data_dir=None, runs=tmp_path / "runs", results=tmp_path / "results")
    asked.join()
    assert stopped.value.code == 128 + signum
    assert (folder / "saved").exists()
    assert not folder.with_name("1").exists()
    assert not (tmp_path / "results").exists()
    assert sum(map(float, (folder / "seconds.txt").read_text().split())) > 0
    assert signal.getsignal(signum) == handler


def test_what_is_refused(tmp_path: Path, monkeypatch) -> None:
    to: dict[str, Any] = {"data_dir": None, "runs": tmp_path / "runs", "results": tmp_path / "results"}
    with pytest.raises(UserError, match=rf"no row nothing; there are {', '.join(ROWS)}\."):
        reproduce.reproduce("nothing", **to)
    with pytest.raises(UserError, match="--data-dir D"):
        reproduce.reproduce("vib", **to)
    monkeypatch.setitem(ROWS, "tiny", TINY._replace(command="python -m experiments.vae --steps -1", seeds=1))
    for seeds, said in (((), "empty"), ((1, 2, 1), "1 2 1")):
        with pytest.raises(UserError, match=f"--seeds is {said}; give one seed or more, each once"):
            reproduce.reproduce("tiny", seeds=seeds, **to)
    with pytest.raises(UserError, match=r"--steps -1 .*ended with 2, for the reason above"):
        reproduce.reproduce("tiny", **to)
    assert not (tmp_path / "results").exists()
    with pytest.raises(UserError, match="has measured no test/nll"):
        reproduce.value_of(TINY, [{"step": 1, "split": "test", "loss": 1.0}])


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"row": "tiny"}', '{"runs": [{}]}'])
def test_a_damaged_record_is_refused_before_anything_runs(text: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(ROWS, "tiny", TINY)
    (tmp_path / "tiny.json").write_text(text)
    with pytest.raises(UserError, match=r"tiny.json is damaged"):
        reproduce.reproduce("tiny", data_dir=None, runs=tmp_path / "runs", results=tmp_path)
    assert not (tmp_path / "runs").exists()
