"""Making a row: the runs, and the record of what they measured."""

import contextlib
import hashlib
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from jaxgen import durable, experiments, hashes, logs, workdir
from jaxgen.errors import UserError

from .rows import ROWS, Row

RESULTS = Path(__file__).parent / "results"
"""What is committed: of each row a record, and the evaluations of its runs as `metrics.jsonl` had them."""

DATA = "D"
"""Stands in a command for the folder of prepared sets."""

MINUTE = 60.0
"""After so many seconds the time that a run took is on record, lest a run that is killed took none."""


def arguments(row: Row, data_dir: str) -> tuple[str, list[str]]:
    """The module and the flags of a row's command."""
    python, option, module, *flags = shlex.split(row.command)
    assert (python, option) == ("python", "-m"), f"a command runs a module: {row.command}"
    return module, [data_dir if flag == DATA else flag for flag in flags]


def experiment_of(row: Row) -> Callable[..., Any]:
    """The function whose keyword arguments a row's flags are."""
    return experiments.find(arguments(row, DATA)[0])


def reproduce(name: str, *, data_dir: str | None, runs: Path, results: Path = RESULTS) -> dict[str, Any]:
    """Runs a row's command with each of its seeds, going on where a run was stopped, and records what was measured.

    Args:
      name: in `ROWS`.
      data_dir: folder of prepared sets, if the command reads one.
      runs: where the runs lie, each in `runs/NAME/SEED`.
      results: where the record goes.

    Returns:
      The record.

    Raises:
      UserError: if there is no such row, no data, or a run that does not end well.
      SystemExit: 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP, when the run is saved.
    """
    if name not in ROWS:
        raise UserError(f"There is no row {name}; there are {', '.join(ROWS)}.")
    row = ROWS[name]
    if DATA in shlex.split(row.command) and data_dir is None:
        raise UserError(f"{name} reads a prepared dataset; name the folder that it lies in: --data-dir D.")
    module, flags = arguments(row, data_dir or DATA)
    if module.startswith(experiments.PREFIX):
        module = f"jaxgen.{module}"  # the same file, whatever else is called `experiments` where this runs
    collected = []
    for seed in range(row.seeds):
        folder = runs / name / str(seed)
        command = [sys.executable, "-m", module, *flags, "--workdir", str(folder), "--seed", str(seed)]
        if code := _run(command, folder):
            raise UserError(
                f"{shlex.join(command)} ended with {code}, for the reason above; once it is mended, this goes on there."
            )
        collected.append(_collect(row, name, seed, folder, results))
    record = {"row": name, "command": row.command, "value": row.value, "runs": collected}
    with durable.explained(f"Writing to {results}", "make room there, or mend what is said."):
        durable.write(results / f"{name}.json", json.dumps(record, indent=2) + "\n")
    return record


def value_of(row: Row, lines: list[dict[str, Any]]) -> tuple[int, float]:
    """The last step at which a row's value was measured, and the value."""
    values = logs.evaluated(lines, row.value)
    if not values:
        raise UserError(f"The run has measured no {row.value}, of which the row speaks; train it to its end.")
    return max(values.items())


def mean_and_deviation(record: Mapping[str, Any]) -> tuple[float, float | None]:
    """Over the seeds; a single one has no standard deviation."""
    values = [run["value"] for run in record["runs"]]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def read(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The records there are, by row."""
    return {name: json.loads(path.read_text("utf-8")) for name in ROWS if (path := results / f"{name}.json").is_file()}


def _collect(row: Row, name: str, seed: int, folder: Path, results: Path) -> dict[str, Any]:
    ran = workdir.read(folder)
    # Evaluations alone: the lines of training are many, and no row speaks of them.
    lines = [line for line in logs.read_jsonl(ran.metrics) if line["split"] != "train"]
    step, value = value_of(row, lines)
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    metrics = Path(name) / f"{seed}.jsonl"
    with durable.explained(f"Writing to {results}", "make room there, or mend what is said."):
        (results / name).mkdir(parents=True, exist_ok=True)
        durable.write(results / metrics, text)
    flags = {flag: v for flag, v in ran.record["flags"].items() if flag not in workdir.FREE} | {"steps": ran.record["steps"]}
    return {
        "seed": seed,
        "step": step,
        "value": value,
        "also": {other: logs.evaluated(lines, other).get(step) for other in row.also},
        "metrics": metrics.as_posix(),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "config": hashes.signature([ran.record["experiment"], flags])[:12],
        "data": ran.record["data"],
        "versions": ran.record["versions"],
        "device": _device(),
        "seconds": round(_spent(folder)),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _device() -> str:
    device = jax.devices()[0]
    if device.platform == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return f"CPU, {cores} core{'' if cores == 1 else 's'}"
    return f"{jax.device_count()} x {device.device_kind}"


def _run(command: list[str], folder: Path) -> int:
    """Runs a command and returns its exit code; where they are asked to stop, waits for it to save, and leaves."""
    code, begun = None, time.time()
    with subprocess.Popen(command) as process, _stopped_together(process) as asked:
        while code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(MINUTE)
            now = time.time()
            _spend(folder, now - begun)
            begun = now
    if asked:
        raise SystemExit(128 + asked[0])
    return code


@contextlib.contextmanager
def _stopped_together(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Passes on to a process the signals that ask this one to stop, and lists them; Ctrl-C comes from a terminal to both."""
    asked: list[int] = []

    def ask(signum: int, frame: FrameType | None) -> None:
        asked.append(signum)
        if signum != signal.SIGINT:
            process.send_signal(signum)

    # What is ignored stays ignored, as `nohup` and a shell's `&` ask.
    heard = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    previous = {signum: signal.signal(signum, ask) for signum in heard}
    try:
        yield asked
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _spend(folder: Path, seconds: float) -> None:
    """Adds to the time a run took, which may have been stopped and gone on."""
    if folder.is_dir() and seconds > 0:
        with (folder / "seconds.txt").open("a", encoding="utf-8") as file:
            file.write(f"{seconds:.1f}\n")


def _spent(folder: Path) -> float:
    path = folder / "seconds.txt"
    return sum(map(float, path.read_text("utf-8").split())) if path.is_file() else 0.0
