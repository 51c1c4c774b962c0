"""The ledger: commands that parse, values that were measured, pages that say what the records do."""

import hashlib
import importlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from jaxgen.experiments.ledger import page, reproduce
from jaxgen.experiments.ledger.rows import ROWS, Row

from jaxgen import cli, commands, flags, logs
from jaxgen.errors import UserError

ROOT = Path(__file__).parents[1]
TINY = Row(
    system="VAE",
    dataset="digits",
    figure="NLL",
    paper="20",
    source="nowhere",
    command="python -m experiments.vae --dataset digits --hidden 8 --latents 2 --steps 4 --nll-samples 2",
    value="test/nll",
    also=("test/elbo",),
    at_most=1000.0,
    seeds=2,
)


@pytest.mark.parametrize("name", ROWS)
def test_every_command_parses(name: str) -> None:
    function = reproduce.experiment_of(ROWS[name])
    command = cli.parse(function, [*reproduce.arguments(ROWS[name], "somewhere")[1], "--seed", "3"])
    flags.check(function, command.own)
    assert command.loop["seed"] == 3


def test_a_command_that_does_not_parse_is_noticed(capsys) -> None:
    function = importlib.import_module("experiments.vae").experiment
    with pytest.raises(SystemExit):
        cli.parse(function, ["--no-such-flag", "1"])
    assert "no-such-flag" in capsys.readouterr().err


@pytest.mark.parametrize("name", reproduce.read())
def test_no_value_was_typed(name: str) -> None:
    record, row = json.loads((reproduce.RESULTS / f"{name}.json").read_text("utf-8")), ROWS[name]
    assert (record["row"], record["command"], record["value"]) == (name, row.command, row.value)
    assert [run["seed"] for run in record["runs"]] == list(range(row.seeds))
    for run in record["runs"]:
        path = reproduce.RESULTS / run["metrics"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == run["sha256"]
        assert reproduce.value_of(row, logs.read_jsonl(path)) == (run["step"], run["value"])
        assert run["also"] == {name: logs.evaluated(logs.read_jsonl(path), name)[run["step"]] for name in row.also}
        assert run["seconds"] > 0
        assert run["device"]
        assert run["date"]


def test_no_record_is_left_over() -> None:
    files = {path.relative_to(reproduce.RESULTS).as_posix() for path in reproduce.RESULTS.rglob("*.json*")}
    records = reproduce.read()
    assert files == {f"{name}.json" for name in records} | {run["metrics"] for r in records.values() for run in r["runs"]}


def test_the_pages_are_what_the_records_say() -> None:
    assert page.PAGE.read_text("utf-8") == page.page(), "run `jaxgen ledger`"
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme == page.put(readme, page.table()), "run `jaxgen ledger`"


def test_a_row_is_made_by_its_command_and_goes_on(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setitem(ROWS, "tiny", TINY)
    args = ["reproduce", "tiny", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "results")]
    commands.main(args)
    said = capfd.readouterr().out
    assert "tiny: " in said
    assert "(2 seeds)" in said
    assert "reproduced" in said
    record = reproduce.read(tmp_path / "results")["tiny"]
    for run in record["runs"]:
        lines = logs.read_jsonl(tmp_path / "runs" / "tiny" / str(run["seed"]) / "metrics.jsonl")
        assert run["value"] == next(line["nll"] for line in lines if "nll" in line)
        assert run["step"] == 4
        assert run["also"]["test/elbo"] < 0
    assert record["runs"][0]["value"] != record["runs"][1]["value"]
    assert record["runs"][0]["config"] == record["runs"][1]["config"]
    mean, deviation = reproduce.mean_and_deviation(record)
    assert mean == pytest.approx(sum(run["value"] for run in record["runs"]) / 2)
    assert deviation is not None

    monkeypatch.setitem(ROWS, "tiny", TINY._replace(at_most=mean - 1))
    assert page.status("tiny", {"tiny": record}) == "missed"
    monkeypatch.setitem(ROWS, "tiny", TINY._replace(at_least=mean + 1))
    assert page.status("tiny", {"tiny": record}) == "missed"
    monkeypatch.setitem(ROWS, "tiny", TINY._replace(reduced="4 steps"))
    assert page.status("tiny", {"tiny": record}) == "reduced protocol"
    monkeypatch.setitem(ROWS, "tiny", TINY._replace(at_most=None))
    assert page.status("tiny", {"tiny": record}) == "baseline"
    monkeypatch.setitem(ROWS, "tiny", TINY._replace(less_than="vib"))
    assert page.status("tiny", {"tiny": record}) == "waits for vib"
    better = {"tiny": record, "vib": {**record, "runs": [{**record["runs"][0], "value": mean + 1}]}}
    assert page.status("tiny", better) == "reproduced"
    assert page.status("vib", {}) == "not run"


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
    with pytest.raises(UserError, match="no row nothing; there are vib"):
        reproduce.reproduce("nothing", data_dir=None, runs=tmp_path)
    with pytest.raises(UserError, match="--data-dir D"):
        reproduce.reproduce("vib", data_dir=None, runs=tmp_path)
    monkeypatch.setitem(ROWS, "tiny", TINY._replace(command="python -m experiments.vae --steps -1", seeds=1))
    with pytest.raises(UserError, match=r"--steps -1 .*ended with 2, for the reason above"):
        reproduce.reproduce("tiny", data_dir=None, runs=tmp_path / "runs", results=tmp_path / "results")
    assert not (tmp_path / "results").exists()
    with pytest.raises(UserError, match="has measured no test/nll"):
        reproduce.value_of(TINY, [{"step": 1, "split": "test", "loss": 1.0}])
