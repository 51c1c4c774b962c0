"""The folder of a run: what lies where, and whether a command fits the run that is there.

run.json            experiment, flags, seed, data, versions
checkpoints/STEP/   states
metrics.jsonl       one line a report
samples/            pictures, NAME_STEP.png
tensorboard/        the same for TensorBoard
not_finite/STEP/    what a step that was not finite began with, for `jaxgen replay`
damaged/STEP/       checkpoints that were found to be damaged
"""

import json
import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen import data, durable, logs, parallel, version
from jaxgen.checkpoint import Checkpoints
from jaxgen.data.stand_in import described
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment

FORMAT = 2
"""Since 2 a state has averages of variables, and an experiment may have no value that marks the best checkpoint."""
FREE = ("steps", "data_dir", "cache_budget")
"""Flags that may differ on resume: how long, and from where the same examples come."""

RECORD: Mapping[str, tuple[type, ...]] = {
    "experiment": (str, type(None)),
    "file": (str, type(None)),
    "flags": (dict,),
    "steps": (int,),
    "seed": (int,),
    "best": (str, type(None)),
    "data": (dict,),
}
"""What a record holds, beside its format and the versions."""


class Workdir:
    """Paths and the record of one run."""

    def __init__(self, path: Path, record: Mapping[str, Any]) -> None:
        self.path = path
        self.record = dict(record)

    def write(self) -> None:
        """Writes the record, whole or not at all; the first host does."""
        if parallel.first():
            with _writing(self.path):
                durable.write(self.path / "run.json", json.dumps(self.record, indent=2) + "\n")

    @property
    def arguments(self) -> str:
        """What names this run to the command `jaxgen`: the folder, and the user's own file where it was made by one."""
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
        """Where damaged checkpoints are put."""
        return self.path / "damaged"

    def checkpoints(self, *, keep: int | None = None, values: Callable[[], Mapping[int, float]] | None = None) -> Checkpoints:
        """The checkpoints, to be closed by the caller; without `keep` to read from.

        The best is the one whose value on record is least, unless other `values` are given; there is none of an experiment
        without such a value.
        """
        return Checkpoints(self.path / "checkpoints", keep=keep, values=values or self._values)

    def incidents(self, *, keep: int | None = None) -> Checkpoints:
        """What the steps that were not finite began with, each with its raw batch beside it."""
        return Checkpoints(self.path / "not_finite", keep=keep)

    def journal(self, *, start: int, wandb: str | None = None) -> logs.Journal:
        """The journal of the run from a step on; the first host's alone writes."""
        if not parallel.first():
            return logs.Journal([], logs.read_jsonl(self.metrics, until=start))
        # First what may refuse, before a file is open.
        writers: list[logs.Writer] = [] if wandb is None else [logs.WandB(wandb, self.path, self.record)]
        writers.append(logs.JsonLines(self.metrics, start=start))
        writers.append(logs.TensorBoard(self.path / "tensorboard", start=start))
        return logs.Journal(writers, logs.read_jsonl(self.metrics, until=start))

    def _values(self) -> Mapping[int, float]:
        best = self.record["best"]
        return {} if best is None else logs.evaluated(logs.read_jsonl(self.metrics), best)


def occupy(path: Path) -> durable.Lock:
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
    lock = durable.Lock(path)
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)
        taken = not parallel.first() or lock.take()
    if parallel.largest(int(not taken)):
        raise UserError(f"{path} is in use by {lock.holder()}; wait for it, stop it, or give another --workdir.")
    return lock


def _writing(path: Path) -> AbstractContextManager[None]:
    return durable.explained(f"Writing to the workdir {path}", "choose another --workdir, or mend what is said.")


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
    if number > FORMAT:
        raise UserError(f"{path} was written by a newer jaxgen (format {number}, this one reads {FORMAT}); upgrade jaxgen.")
    # By exact type: True is no seed, and a text of digits none either.
    if not all(type(record.get(name)) in kinds for name, kinds in RECORD.items()) or not 0 <= record["seed"] < 2**32:
        raise damaged
    if not _tells_data(record["data"]):
        raise damaged
    return Workdir(path, record)


def _tells_data(data: Mapping[str, Any]) -> bool:
    """Whether what a record says of a run's data is what `describe` writes, or versions before it wrote."""
    try:
        names, sources = data["names"], data.get("sources", [])
        known = isinstance(data["fingerprint"], str) and all(isinstance(name, str) for name in names)
        return known and isinstance(sources, list) and all(map(_tells_source, sources))
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _tells_source(source: Mapping[str, Any]) -> bool:
    known = isinstance(source["name"], str) and isinstance(source["fingerprint"], str)
    known = known and isinstance(source["digest"], str | None)
    if "features" not in source:
        return known
    shapes = [(np.dtype(dtype), shape) for dtype, shape in source["features"].values()]
    names = [name for named in source["classes"].values() for name in named]
    return (
        known
        and isinstance(source["split"], str | None)
        and type(source["length"]) is int
        and source["length"] > 0
        and all(type(side) is int and side >= 0 for _, shape in shapes for side in shape)
        and all(isinstance(name, str) for name in names)
    )


def fitting(path: Path, experiment: Experiment, seed: int) -> tuple[Workdir, list[str]]:
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
    record = describe(experiment, seed)
    notes: list[str] = []
    if (path / "run.json").exists():
        old = read(path).record
        _refuse_differences(path, old, record)
        notes = _schedule_notes(experiment, old, record)
        if _told_otherwise(old["data"], record["data"]):
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
    return _altered(folder.record["data"], describe(experiment, folder.record["seed"])["data"])


def describe(experiment: Experiment, seed: int) -> dict[str, Any]:
    """What a run folder records of its experiment, as JSON."""
    config = experiment.config
    record = {
        "format": FORMAT,
        "experiment": config.name if config else None,
        "file": config.file if config else None,
        "flags": _placed(config.flags) if config else {},
        "steps": experiment.steps,
        "seed": seed,
        "best": experiment.best,
        "data": {
            "names": experiment.train.names,
            "fingerprint": experiment.train.fingerprint,
            "sources": [described(one) for one in config.opened] if config else [],
        },
        "versions": version.installed(),
    }
    return json.loads(json.dumps(record))


def _placed(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags, with absolute places for data: a run is looked at from other folders than the one that it was trained in."""
    placed, where = dict(flags), flags.get("data_dir")
    if isinstance(where, str) and where:
        placed["data_dir"] = os.path.abspath(os.path.expanduser(where))
    if isinstance(flags.get("dataset"), str):
        placed["dataset"] = data.place(flags["dataset"], where)
    return placed


def _refuse_differences(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    differing, altered = [], _altered(old["data"], new["data"])
    if old["experiment"] != new["experiment"]:
        differing.append(f"the experiment ({old['experiment']} there, {new['experiment']} here)")
    else:
        for flag in sorted((old["flags"].keys() | new["flags"].keys()) - set(FREE)):
            there, here = (r["flags"].get(flag, "absent") for r in (old, new))
            if flag == "dataset" and isinstance(there, str) and _same_place(there, here, altered):
                continue
            if there != here:
                differing.append(f"--{flag.replace('_', '-')} ({there} there, {here} here)")
    if old["seed"] != new["seed"]:
        differing.append(f"--seed ({old['seed']} there, {new['seed']} here)")
    if differing:
        raise UserError(
            f"{path} holds a run that differs in {', '.join(differing)}; "
            "give the same flags to resume it, or another --workdir."
        )
    if altered:
        raise UserError(
            f"The data changed since the run in {path} began ({', '.join(altered)}); "
            "restore the dataset that it was trained on, or start anew in another --workdir."
        )


def _altered(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names of the data on record that are not what is read now: in any split, by their contents and not by their place."""
    there, here = old.get("sources", []), new["sources"]
    files, examples = ({source[by] for source in here if source[by]} for by in ("fingerprint", "digest"))
    gone = [source for source in there if source["fingerprint"] not in files and source["digest"] not in examples]
    if gone:
        return [source["name"] for source in gone]
    # The files of a set may differ where its examples do not: it was prepared once more.
    prepared_anew = any(source["fingerprint"] not in files for source in there)
    if old["fingerprint"] == new["fingerprint"] or prepared_anew or _told_otherwise(old, new):
        return []
    return list(old["names"])


def _told_otherwise(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether an earlier version told such data by less than their contents: by times, or by parts of large files."""
    return "sources" not in old and len(old["fingerprint"]) == 16 and len(new["fingerprint"]) == 32


def _same_place(there: str, here: Any, altered: list[str]) -> bool:
    """Whether two values of --dataset name the same data: folders or files with the same contents, wherever they lie."""
    places = isinstance(here, str) and os.path.isabs(here) and (os.path.isabs(there) or data.place(there) == here)
    return places and not altered


def _schedule_notes(experiment: Experiment, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Says which schedules change because a run goes on with another number of steps."""
    before, after = old["steps"], new["steps"]
    if before == after or experiment.config is None or not experiment.schedules:
        return []
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
