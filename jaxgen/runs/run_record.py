"""The record of an experiment in a run's folder, as JSON; and the differences of two records."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen import best, data, values, version
from jaxgen.data.stand_in import described
from jaxgen.errors import UserError
from jaxgen.experiment import Config, Experiment
from jaxgen.network import FrozenNetwork
from jaxgen.runs import parts

FORMAT = 3
"""The format of a record. Since 2 a state has averages of variables, and an experiment may have no value that marks the best
checkpoint; since 3 it may be the maximum of a value that marks it."""
MAY_CHANGE = ("steps", "data_dir", "cache_budget")
"""Flags that may differ on resume: the number of steps, and the place and the cache of the same examples."""

RECORD: Mapping[str, tuple[type, ...]] = {
    "experiment": (str, type(None)),
    "file": (str, type(None)),
    "flags": (dict,),
    "steps": (int,),
    "seed": (int,),
    "best": (str, dict, type(None)),
    "data": (dict,),
}
"""The entries of a record, without its format and the versions."""


def describe(experiment: Experiment, seed: int) -> dict[str, Any]:
    """The record of an experiment for a run's folder, as JSON."""
    config = experiment.config
    record = {
        "format": FORMAT,
        "experiment": config.name if config else None,
        "file": config.file if config else None,
        "flags": _placed(config, experiment.frozen) if config else {},
        "steps": experiment.steps,
        "seed": seed,
        "best": best.to_json(experiment.best),
        "data": {
            "names": experiment.train.names,
            "fingerprint": experiment.train.fingerprint,
            "flags": config.datasets if config else [],
            "sources": [described(one) for one in config.opened] if config else [],
        },
        **({"frozen": parts.described(experiment.frozen)} if experiment.frozen else {}),
        "versions": version.installed(),
    }
    return json.loads(json.dumps(record))


def datasets(record: Mapping[str, Any]) -> list[str]:
    """The flags of a run that name its data; records of earlier versions do not say which."""
    return record["data"].get("flags", ["dataset"])


def _placed(config: Config, frozen: Mapping[str, FrozenNetwork]) -> dict[str, Any]:
    """The flags, with absolute places for data and other runs: a run is looked at from other folders than it was trained in."""
    flags = config.flags
    placed, where = {flag: values.described(value) for flag, value in flags.items()}, flags.get("data_dir")
    if isinstance(where, str) and where:
        placed["data_dir"] = os.path.abspath(os.path.expanduser(where))
    for flag in config.datasets:
        if isinstance(flags[flag], str):
            placed[flag] = data.place(flags[flag], where)
    runs = {part.given: str(part.run) for part in frozen.values()}
    placed |= {flag: runs[str(value)] for flag, value in flags.items() if isinstance(value, str | Path) and str(value) in runs}
    return placed


def refuse_differences(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises a UserError that names the flags, frozen parts or data in which two records of the run in a folder differ."""
    differing, others = [], altered(old["data"], new["data"])
    taken = [record.get("frozen", {}) for record in (old, new)]
    runs = [told["run"] for of in taken for told in of.values()]
    if old["experiment"] != new["experiment"]:
        differing.append(f"the experiment ({old['experiment']} there, {new['experiment']} here)")
    else:
        for flag in sorted((old["flags"].keys() | new["flags"].keys()) - set(MAY_CHANGE)):
            there, here = (r["flags"].get(flag, "absent") for r in (old, new))
            if there in runs and here in runs:
                continue  # the parts that were taken from there are compared, wherever they lay
            if flag in (*datasets(old), *datasets(new)) and _same_place(there, here, others):
                continue
            if there != here:
                differing.append(f"--{flag.replace('_', '-')} ({values.shown(there)} there, {values.shown(here)} here)")
    for name in sorted(taken[0].keys() | taken[1].keys()):
        there, here = (of.get(name, {"digest": "none"}) for of in taken)
        if there["digest"] != here["digest"]:
            differing.append(f"the frozen part {name!r} ({_part(there)} there, {_part(here)} here)")
    if old["seed"] != new["seed"]:
        differing.append(f"--seed ({old['seed']} there, {new['seed']} here)")
    if differing:
        raise UserError(
            f"{path} holds a run that differs in {', '.join(differing)}; "
            "give the same flags to resume it, or another --workdir."
        )
    if others:
        raise UserError(
            f"The data changed since the run in {path} began ({', '.join(others)}); "
            "restore the dataset that it was trained on, or start anew in another --workdir."
        )


def _part(told: Mapping[str, Any]) -> str:
    return f"{told['digest'][:8]} of {told['run']} at step {told['step']:,}" if "run" in told else told["digest"]


def altered(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names of the data on record that are not what is read now: in any split, by their contents and not by their place."""
    there, here = old.get("sources", []), new["sources"]
    files, examples = ({source[by] for source in here if source[by]} for by in ("fingerprint", "digest"))
    gone = [source for source in there if source["fingerprint"] not in files and source["digest"] not in examples]
    if gone:
        return list(dict.fromkeys(source["name"] for source in gone))
    # The files of a set may differ where its examples do not: it was prepared once more.
    prepared_anew = any(source["fingerprint"] not in files for source in there)
    if old["fingerprint"] == new["fingerprint"] or prepared_anew or told_otherwise(old, new):
        return []
    return list(old["names"])


def told_otherwise(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether an earlier version identified such data by less than their contents: by times, or by parts of large files."""
    return "sources" not in old and len(old["fingerprint"]) == 16 and len(new["fingerprint"]) == 32


def _same_place(there: Any, here: Any, others: list[str]) -> bool:
    """Whether two values of a flag for data name the same: folders or files with the same contents, wherever they lie.

    Sources that were given in Python have no place: their contents alone say what they are.
    """
    if values.is_described(there) or values.is_described(here):
        return True
    if not isinstance(there, str):
        return False
    places = isinstance(here, str) and os.path.isabs(here) and (os.path.isabs(there) or data.place(there) == here)
    return places and not others


def valid(record: Mapping[str, Any]) -> bool:
    """Whether a record holds what `describe` writes, or versions before it wrote."""
    # By exact type: True is no seed, and a text of digits none either.
    if not all(type(record.get(name)) in kinds for name, kinds in RECORD.items()) or not 0 <= record["seed"] < 2**32:
        return False
    try:
        best.from_json(record["best"])
    except ValueError:
        return False
    return _tells_data(record["data"]) and parts.valid(record.get("frozen", {}))


def _tells_data(data: Mapping[str, Any]) -> bool:
    """Whether what a record says of a run's data is what `describe` writes, or versions before it wrote."""
    try:
        names, sources = data["names"], data.get("sources", [])
        known = isinstance(data["fingerprint"], str) and all(isinstance(name, str) for name in (*names, *data.get("flags", ())))
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
