"""Making a row: its runs, one after another, and the record of what they measured."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax

from jaxgen import best, experiments, hashes
from jaxgen.errors import UserError
from jaxgen.runs import journal, run_record, workdir

from . import records
from .row import Row
from .rows import ROWS

ROOT = Path(__file__).parents[2]
"""The clone, where there is one."""

MADE = ("README.md", "experiments/ledger/README.md", "experiments/ledger/results")
"""Files that the ledger itself writes in a clone; they are no change of the code."""

DATA = "D"
"""The word in a command that stands for the folder of prepared sets."""

CODES, SECONDS = "code.jsonl", "seconds.txt"
"""Files in a run's folder: one notes which code made the run, the other how long that took."""

MINUTE = 60.0
"""Seconds between two records of a run's time, so that a run that is killed has a time too."""


class Stage(NamedTuple):
    """One command of a row.

    Fields:
      module: the module that the command runs.
      flags: the flags of the command, without those that every row's run is given.
      run: the folder of the command's run.
    """

    module: str
    flags: list[str]
    run: Path

    @property
    def experiment(self) -> Callable[..., Any]:
        """The function whose keyword arguments the flags are."""
        return experiments.find(self.module)


def stages(row: Row, data_dir: str, folder: Path) -> list[Stage]:
    """The commands of a row; the last one measures the row's value.

    Args:
      row: the row.
      data_dir: the folder of prepared sets.
      folder: the folder of the last command's run; those before have folders next to it.
    """
    commands = row.command.split(" && ")
    runs = [folder.with_name(f"{folder.name}-{i + 1}") for i in range(len(commands) - 1)] + [folder]
    words = {DATA: data_dir, **{f"RUN{i + 1}": str(run) for i, run in enumerate(runs[:-1])}}
    found = []
    for command, run in zip(commands, runs, strict=True):
        python, option, module, *flags = shlex.split(command)
        assert (python, option) == ("python", "-m"), f"a command runs a module: {command}"
        found.append(Stage(module, [words.get(flag, flag) for flag in flags], run))
    return found


def reproduce(
    name: str,
    *,
    data_dir: str | None,
    runs: Path,
    results: Path,
    seeds: Sequence[int] | None = None,
    reason: str | None = None,
) -> records.Record:
    """Runs a row's command with each of its seeds, going on where a run was stopped, and records what was measured.

    The record is written once, after the last of the seeds: until then the old record stays in force.

    Args:
      name: the name of the row in `ROWS`.
      data_dir: folder of prepared sets, if the command reads one.
      runs: the folder of the runs, each in `runs/NAME/SEED`.
      results: folder of the record.
      seeds: the seeds to run with; by default those that the row asks for.
      reason: the reason why the row is run again, for the history of its record; by default what differs from the runs on
        record.

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
    chosen = range(row.seeds) if seeds is None else seeds
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError(f"--seeds is {' '.join(map(str, chosen)) or 'empty'}; give one seed or more, each once.")
    before = records.load(name, results)  # Before the hours of running: a damaged record is refused now.
    collected, texts = [], {}
    for seed in chosen:
        folder = runs / name / str(seed)
        todo = stages(row, data_dir or DATA, folder)
        for module, flags, of_stage in todo:
            # The same file, whatever else is called `experiments` where this runs.
            named = f"jaxgen.{module}" if module.startswith(experiments.PREFIX) else module
            command = [sys.executable, "-m", named, *flags, "--workdir", str(of_stage), "--seed", str(seed)]
            if code := _run(command, of_stage, row):
                raise UserError(
                    f"{shlex.join(command)} ended with {code}, for the reason above; once it is mended, this goes on there."
                )
        run, text = _collect(row, name, seed, [stage.run for stage in todo])
        collected.append(run)
        texts[run["metrics"]] = text
    new = {"row": name, "command": row.command, "value": row.value, "runs": sorted(collected, key=lambda run: run["seed"])}
    record = records.merged(before, new, reason)
    records.save(record, texts, results)
    return record


def value_of(row: Row, lines: list[dict[str, Any]]) -> tuple[int, float]:
    """The last step at which a row's value was measured, and the value."""
    values = best.evaluated(lines, row.value)
    if not values:
        raise UserError(f"The run has measured no {row.value}, of which the row speaks; train it to its end.")
    return max(values.items())


def error_of(row: Row, lines: list[dict[str, Any]], step: int) -> float | None:
    """The standard error that an evaluation wrote for the value; None if it wrote none."""
    # `_error` is what the Parzen windows' was called at first, and committed runs have it.
    names = (f"{row.value}{suffix}" for suffix in ("_stderr", "_error"))
    return next((found[step] for name in names if step in (found := best.evaluated(lines, name))), None)


def code_version(root: Path = ROOT) -> dict[str, Any]:
    """The version of the code: the commit, and whether files differ from it; both are None outside of a clone."""
    # A package may be installed below a repository of the user's own, whose commit says nothing of it.
    commit = _git(root, "rev-parse", "HEAD") if _git(root, "rev-parse", "--show-toplevel") == str(root.resolve()) else None
    if commit is None:
        return {"commit": None, "dirty": None}
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{path}" for path in MADE))
    return {"commit": commit, "dirty": bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    """The output of a git command; None where there is no git or no repository."""
    try:
        answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _collect(row: Row, name: str, seed: int, folders: Sequence[Path]) -> tuple[dict[str, Any], str]:
    """The record's entry of the last of a row's runs, and that run's evaluations, which are written to a file of their own."""
    ran = workdir.read(folders[-1])
    lines = journal.read_jsonl(ran.metrics)
    step, value = value_of(row, lines)
    # Evaluations, and of the lines of training, which are many, the one that the row speaks of.
    of_training = any(name.startswith("train/") for name in (row.value, *row.also))
    lines = [line for line in lines if line["split"] != "train" or (of_training and line["step"] == step)]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    metrics, sha256 = records.metrics_file(name, seed, text)
    flags = {flag: v for flag, v in ran.record["flags"].items() if flag not in run_record.MAY_CHANGE} | {
        "steps": ran.record["steps"]
    }
    run = {
        "seed": seed,
        "step": step,
        "value": value,
        "error": error_of(row, lines, step),
        "also": {other: best.evaluated(lines, other).get(step) for other in row.also},
        "metrics": metrics,
        "sha256": sha256,
        "config": hashes.signature([ran.record["experiment"], flags])[:12],
        "data": ran.record["data"],
        "versions": ran.record["versions"],
        "code": list({json.dumps(code): code for folder in folders for code in _codes(folder)}.values()),
        "device": _device(),
        "seconds": round(sum(map(_spent, folders))),
        "date": datetime.now(UTC).date().isoformat(),
    }
    return run, text


def _device() -> str:
    device = jax.devices()[0]
    if device.platform == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return f"CPU, {cores} core{'' if cores == 1 else 's'}"
    return f"{jax.device_count()} x {device.device_kind}"


def _run(command: list[str], folder: Path, row: Row) -> int:
    """Runs a command and returns its exit code; where they are asked to stop, waits for it to save, and leaves."""
    code, begun = None, time.time()
    version = None if _finished(folder, row) else code_version()
    with subprocess.Popen(command) as process, _stopped_together(process) as asked:
        while code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(MINUTE)
            now = time.time()
            _spend(folder, now - begun)
            begun = now
            if version is not None and folder.is_dir() and version not in _codes(folder):
                _append(folder / CODES, json.dumps(version))
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


def _finished(folder: Path, row: Row) -> bool:
    """Whether a run has measured its value at its last step: no code that looks at it later has a part in it."""
    if not (folder / "run.json").is_file():
        return False
    ran = workdir.read(folder)
    return ran.record["steps"] in best.evaluated(journal.read_jsonl(ran.metrics), row.value)


def _codes(folder: Path) -> list[dict[str, Any]]:
    """The versions of the code that a run was made by: more than one if it was stopped and went on after a change."""
    path = folder / CODES
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _spend(folder: Path, seconds: float) -> None:
    """Adds to the time a run took, which may have been stopped and gone on."""
    if folder.is_dir() and seconds > 0:
        _append(folder / SECONDS, f"{seconds:.1f}")


def _spent(folder: Path) -> float:
    path = folder / SECONDS
    return sum(map(float, path.read_text("utf-8").split())) if path.is_file() else 0.0
