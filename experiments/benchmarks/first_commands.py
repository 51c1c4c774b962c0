"""Runs the first command of experiments, as a newcomer does, and keeps its time, its memory and what came out.

python -m experiments.benchmarks.first_commands vae iwae       # these two; without names, all that have no record yet
python -m experiments.benchmarks.first_commands --table        # writes the records into the last column of the README's table

A command runs in a process of its own, on the bundled digits or on generated data. All commands run in one folder, that of
`--folder`, which keeps the runs: an experiment that stands on another one's run takes it from there, or gets it first, which
is not a part of its time. Nothing else is to run on the machine meanwhile.
"""

import ast
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import tyro

import jaxgen
from jaxgen import disk
from jaxgen.commands.command_line import Mistakes
from jaxgen.errors import UserError
from jaxgen.experiments import FOLDER, find
from jaxgen.experiments import names as experiments
from jaxgen.uncertainty import paired, told

RESULTS = Path(__file__).with_suffix(".json")
STARTER = """
import json, os, subprocess, sys

process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
"""The small process that starts a command: to the system, a process has held what the one held that it was forked from."""

LINE = re.compile(r"^\| `python -m experiments\.(\w+)` \| [^|]+ \| [^|]+ \|", re.MULTILINE)
"""A line of the README's table of experiments, up to the column that is written here."""


class Record(NamedTuple):
    """Time, memory and result of a command.

    Fields:
      command: the command.
      seconds: seconds from its start to its end.
      processor_seconds: the same of all cores together, as the system counts them.
      peak_mib: the most memory that it held, in MiB.
      figures: the last figures, by split and name, each with its standard error or None (`figures_of`).
      machine: cores, versions of Python and JAX.
    """

    command: str
    seconds: float
    processor_seconds: float
    peak_mib: float
    figures: Mapping[str, tuple[float, float | None]]
    machine: Mapping[str, Any]


def commands(name: str) -> list[str]:
    """The first command of an experiment's description, after those of the runs that it stands on.

    >>> commands("vae"), commands("reflow")
    (['experiments.vae'], ['experiments.flow_matching', 'experiments.reflow'])
    """
    lines = (ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))) or "").splitlines()
    found = [line.partition("#")[0].removeprefix("python -m").strip() for line in lines if line.startswith("python -m ")]
    own = next(i for i, command in enumerate(found) if command.split()[0] == f"experiments.{name}")
    return found[: own + 1]


def installed(command: str) -> list[str]:
    """The command as it is called from a folder in which there is no `experiments/`."""
    return [sys.executable, "-m", *f"jaxgen.{command}".split()]


def spent(command: Sequence[str], folder: Path) -> tuple[float, float, float]:
    """Runs a command in a folder, and raises a `UserError` if it fails.

    Returns:
      Seconds, processor seconds, and the most memory that it held, in MiB.
    """
    start = time.perf_counter()
    with (folder / "output.txt").open("ab") as output:
        starter = [sys.executable, "-c", STARTER, *command]
        done = subprocess.run(starter, cwd=folder, stdout=subprocess.PIPE, stderr=output, check=True)
    code, processor_seconds, peak = json.loads(done.stdout)
    if code:
        raise UserError(f"{' '.join(command)} ended with {code}; {folder / 'output.txt'} says why.")
    # Linux counts in KiB, macOS in bytes.
    size = peak / (1024 if sys.platform.startswith("linux") else 1024**2)
    return time.perf_counter() - start, processor_seconds, size


def measured(name: str, folder: Path) -> Record:
    """The record of an experiment's first command, run in a folder that may hold other runs.

    Raises:
      UserError: if the folder holds that run already: one that goes on would take less.
    """
    if (run := folder / "runs" / name).exists():
        raise UserError(f"{run} exists already; remove it, or name another folder by --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    *before, own = commands(name)
    for command in before:
        spent(installed(command), folder)
    took = spent(installed(own), folder)
    figures = figures_of(jaxgen.load(run))
    machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "jax": jax.__version__}
    seconds, processor_seconds, peak = (round(x, 1) for x in took)
    return Record(f"python -m {own}", seconds, processor_seconds, peak, figures, machine)


def figures_of(run: jaxgen.Run) -> dict[str, tuple[float, float | None]]:
    """The last figures of a run that its protocol names, by split and name; where it names none, all that were evaluated."""
    last = {split: paired(values) for split, values in run.last().items() if split != "train"}
    found = {(split, of): value for split, values in last.items() for of, value in values.items()}
    named = {place: value for place, value in found.items() if place[1] in run.experiment.protocol}
    return {f"{split} {of}": value for (split, of), value in (named or found).items()}


def cell(record: Record) -> str:
    """The last column of the README's table: minutes, memory, and the first two figures.

    >>> cell(Record("", 130.0, 240.0, 900.0, {"test nll": (25.61, 0.2)}, {}))
    '2.2 min, 0.9 GiB; nll 25.61 +- 0.20'
    """
    first = list(record.figures.items())[:2]
    figures = ", ".join(f"{name.removeprefix('test').strip('/ ')} {told(value, error)}" for name, (value, error) in first)
    return f"{record.seconds / 60:.1f} min, {record.peak_mib / 1024:.1f} GiB" + (f"; {figures}" if figures else "")


def written(readme: str, records: Mapping[str, Record]) -> str:
    """The README with the records in the last column of its table; the cell of an experiment without one is empty."""
    lines = []
    for line in readme.splitlines():
        if found := LINE.match(line):
            line = f"{found[0]} {cell(records[found[1]])} |" if found[1] in records else f"{found[0]} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def kept() -> dict[str, Record]:
    """The records by experiment."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return {name: Record(**record) for name, record in found.items()}


def main(
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    folder: Path = Path("first_commands"),
    table: bool = False,
    readme: Path = Path("README.md"),
) -> None:
    """Measures, or writes the table.

    Args:
      names: the experiments; without any, all that have no record yet.
      folder: the folder in which the commands run, and that keeps their runs.
      table: whether the table is written, and nothing is run.
      readme: the project's README.
    """
    records = kept()
    if table:
        readme.write_text(written(readme.read_text(encoding="utf-8"), records), encoding="utf-8")
        return
    for name in names or [name for name in experiments() if name not in records]:
        find(name)  # refuses a name that there is none of
        records[name] = measured(name, folder.resolve())
        print(f"{name}: {cell(records[name])}", flush=True)
        text = json.dumps({of: records[of]._asdict() for of in sorted(records)}, indent=1)
        disk.write(RESULTS, text + "\n")


if __name__ == "__main__":
    with Mistakes():
        tyro.cli(main)
