"""The folder of a run: its files, and the check that a command fits the run that is there.

run.json            experiment, flags, seed, data, versions
checkpoints/STEP/   states
metrics.jsonl       one line per report
samples/            pictures, NAME_STEP.png
tensorboard/        the same for TensorBoard
not_finite/STEP/    what a step that was not finite began with, for `jaxgen replay`
frozen/DIGEST/      networks of other runs that this one was trained with
damaged/STEP/       checkpoints that were found to be damaged
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen import disk
from jaxgen.best import Best, best_step, from_json
from jaxgen.devices import hosts
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.network import FrozenNetwork
from jaxgen.runs import journal, parts, run_record
from jaxgen.runs.checkpoint import Checkpoints


class Workdir:
    """Paths and the record of one run."""

    def __init__(self, path: Path, record: Mapping[str, Any]) -> None:
        self.path = path
        self.record = dict(record)

    def write(self) -> None:
        """Writes the record, whole or not at all; the first host does."""
        if hosts.is_main_host():
            with _writing(self.path):
                disk.write(self.path / "run.json", json.dumps(self.record, indent=2) + "\n")

    @property
    def arguments(self) -> str:
        """The words that name this run to the command `jaxgen`: the folder, and the user's own file where one made it."""
        name, file = self.record["experiment"], self.record["file"]
        words = [str(self.path)]
        if name is not None and not name.startswith("experiments."):
            words += ["--experiment", file]
        return shlex.join(words)

    @property
    def metrics(self) -> Path:
        """The metrics, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """The pictures."""
        return self.path / "samples"

    @property
    def damaged(self) -> Path:
        """The folder that damaged checkpoints are moved to."""
        return self.path / "damaged"

    def checkpoints(
        self,
        *,
        keep: int | None = None,
        keep_every: int | None = None,
        best: Callable[[Sequence[int]], int | None] | None = None,
        frozen: Mapping[str, FrozenNetwork] = {},
    ) -> Checkpoints:
        """The checkpoints, to be closed by the caller; without `keep` to read from.

        The best is the one that the values on record mark, unless another function chooses it (`jaxgen.best`). The frozen
        parts are left out of what is saved, and put into what is restored.
        """
        folder = self.path / "checkpoints"
        return Checkpoints(folder, keep=keep, keep_every=keep_every, best=best or self._best, frozen=frozen)

    def keep(self, frozen: Mapping[str, FrozenNetwork]) -> None:
        """Writes the frozen parts of the experiment, each once; the first host does."""
        if hosts.is_main_host():
            with _writing(self.path):
                for part in frozen.values():
                    parts.write(self.path, part)

    def incidents(self, *, keep: int | None = None) -> Checkpoints:
        """The folder of the states and raw batches with which steps that were not finite began."""
        return Checkpoints(self.path / "not_finite", keep=keep)

    def journal(self, *, start: int, wandb: str | None = None) -> journal.Journal:
        """The journal of the run from a step on; the first host's alone writes."""
        if not hosts.is_main_host():
            return journal.Journal([], journal.read_jsonl(self.metrics, until=start))
        # First what may refuse, before a file is open.
        writers: list[journal.Writer] = [] if wandb is None else [journal.WandB(wandb, self.path, self.record)]
        writers.append(journal.JsonLines(self.metrics, start=start))
        writers.append(journal.TensorBoard(self.path / "tensorboard", start=start))
        return journal.Journal(writers, journal.read_jsonl(self.metrics, until=start))

    @property
    def best(self) -> Best | None:
        """The evaluated value that marks the best checkpoint, and in which direction."""
        return from_json(self.record["best"])

    def _best(self, steps: Sequence[int]) -> int | None:
        return best_step(self.best, journal.read_jsonl(self.metrics), steps)


def lock(path: Path) -> disk.Lock:
    """Makes the folder of a run, and keeps other processes off it until the lock is released; the first host does.

    Raises:
      UserError: if it cannot be written, or another process trains in it.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"The name of the workdir {path} is no UTF-8, which checkpoints need; give another --workdir."
        ) from None
    lock = disk.Lock(path)
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)
        taken = not hosts.is_main_host() or lock.take()
    if hosts.max_over_hosts(int(not taken)):
        raise UserError(f"{path} is in use by {lock.holder()}; wait for it, stop it, or give another --workdir.")
    return lock


def _writing(path: Path) -> AbstractContextManager[None]:
    return disk.explained(f"Writing to the workdir {path}", "choose another --workdir, or mend what is said.")


def read(path: Path) -> Workdir:
    """A run that exists.

    Raises:
      UserError: if the folder holds none, or one of a later format.
    """
    file = path / "run.json"
    if not file.is_file():
        raise UserError(
            f"{path} holds no run (it has no run.json); check the path, or train one with --workdir {shlex.quote(str(path))}."
        )
    damaged = UserError(f"{file} is damaged: it is not the JSON that a run writes; restore it from a copy.")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        number = record["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damaged from None
    if type(number) is not int or number < 1:
        raise damaged
    if number > run_record.FORMAT:
        raise UserError(
            f"{path} was written by a newer jaxgen (format {number}, this one reads {run_record.FORMAT}); upgrade jaxgen."
        )
    if not run_record.valid(record):
        raise damaged
    return Workdir(path, record)


def matching_run(path: Path, experiment: Experiment, seed: int) -> tuple[Workdir, list[str]]:
    """The run folder of an experiment: the one that is there if it fits, else one that is not written yet.

    Args:
      path: the folder.
      experiment: the experiment that is going to run in it.
      seed: the seed of the run.

    Returns:
      The folder, and notes that its user should read.

    Raises:
      UserError: if the folder holds a run with other flags, another seed or other data.
    """
    record = run_record.describe(experiment, seed)
    notes: list[str] = []
    if (path / "run.json").exists():
        old = read(path).record
        run_record.refuse_differences(path, old, record)
        notes = _schedule_notes(path, experiment, old, record)
        if run_record.told_otherwise(old["data"], record["data"]):
            notes.append(
                "Note: an earlier version began this run and recorded its data by the times of the files, or by parts of them; "
                "whether they are still the same cannot be told. From now on their contents are on record."
            )
    return Workdir(path, record), notes


def altered(folder: Workdir, experiment: Experiment) -> list[str]:
    """The names of the data on record that are not what an experiment reads, in any split, by their contents.

    Args:
      folder: the folder of a run.
      experiment: the experiment of the run, built again.

    Returns:
      Names; none where all is the same, wherever it lies.
    """
    return run_record.altered(folder.record["data"], run_record.describe(experiment, folder.record["seed"])["data"])


def check(folder: Workdir, experiment: Experiment) -> None:
    """Refuses an experiment that is not the one of a run, or reads other data.

    Raises:
      UserError: naming the flags or the data that differ.
    """
    run_record.refuse_differences(folder.path, folder.record, run_record.describe(experiment, folder.record["seed"]))


def _schedule_notes(path: Path, experiment: Experiment, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Says which schedules change because a run goes on with another number of steps."""
    before, after = old["steps"], new["steps"]
    if before == after or experiment.config is None or not experiment.schedules:
        return []
    with parts.kept_in(path):
        earlier = experiment.config.function(**{**experiment.config.flags, "steps": before})
    notes = []
    for name, schedule in experiment.schedules.items():
        at = np.unique(np.linspace(0, before - 1, 100).astype(int))
        was, now = (np.array([float(s(step)) for step in at]) for s in (earlier.schedules[name], schedule))
        if not np.allclose(was, now, rtol=1e-6, atol=0):
            i = int(np.argmax(np.abs(was - now)))
            notes.append(
                f"Note: {name} depends on --steps. It was planned for {before:,} steps and now for {after:,}: at step "
                f"{at[i]:,}, {was[i]:.3g} then and {now[i]:.3g} now. The run goes on, on the new schedule."
            )
    return notes
