"""The records: for each row one JSON file that names the evaluated lines of its runs, and earlier values.

    NAME.json               the command, its runs, and the history
    NAME/SEED-HASH.jsonl    the evaluations of a run, as `metrics.jsonl` had them

A record is replaced whole, after the files that it names are on the disk. So whenever a process dies, the record that is there
names files that are there.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgen import disk
from jaxgen.errors import UserError

from .row import Row
from .rows import ROWS
from .verdict import estimate

RESULTS = Path(__file__).parent / "results"
"""The records that are committed, from which the pages are made."""

ALIKE = ("config", "data", "versions", "code")
"""Runs that agree in these may stand in one record: then only their seeds differ."""

Record = dict[str, Any]


def read(results: Path = RESULTS) -> dict[str, Record]:
    """The records of a folder, by row, as far as they speak of the rows: values that another command measured are history."""
    records = {name: load(name, results) for name in ROWS}
    return {name: in_force(ROWS[name], record) for name, record in records.items() if record is not None}


def load(name: str, results: Path) -> Record | None:
    """The record of a row as it was written; None if there is none.

    Raises:
      UserError: if it is not the JSON that was written.
    """
    path = results / f"{name}.json"
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text("utf-8"))
        estimate(record)
        return {"history": [], **record}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged: it is not the JSON of a record; restore it from a copy, or remove it.") from None


def in_force(row: Row, record: Record) -> Record:
    """The record as far as it speaks of the row: runs of another command are history."""
    if (record["command"], record["value"]) == (row.command, row.value):
        return record
    return {**retired(record, "the row's command is another now"), "command": row.command, "value": row.value}


def retired(record: Record, reason: str) -> Record:
    """The record with its runs turned into an entry of its history."""
    ours = estimate(record)
    if ours is None:
        return record
    entry = {
        "value": ours.value,
        "error": ours.error,
        "seeds": [run["seed"] for run in record["runs"]],
        "date": max(run["date"] for run in record["runs"]),
        "command": record["command"],
        "reason": reason,
    }
    return {**record, "runs": [], "history": [*record["history"], entry]}


def merged(old: Record | None, new: Record, reason: str | None = None) -> Record:
    """The record after new runs.

    Runs of other seeds stay if they were made alike: same flags, data, packages and code. Otherwise they become history, unless
    the new runs measured the same values again.

    Args:
      old: the record that is replaced.
      new: the new runs, without history.
      reason: the reason why the row was run again; by default what differs.

    Returns:
      The record.
    """
    if old is None:
        return {**new, "history": []}
    same = (old["command"], old["value"]) == (new["command"], new["value"])
    before = {run["seed"]: run for run in old["runs"]}
    now = {run["seed"]: run for run in new["runs"]}
    again = [seed for seed in now if seed in before]
    changed = any(before[seed]["value"] != now[seed]["value"] for seed in again)
    differing = sorted({key for key in ALIKE for a in before.values() for b in now.values() if a.get(key) != b.get(key)})
    if same and not changed and not differing:
        return {**new, "runs": [run for _, run in sorted({**before, **now}.items())], "history": old["history"]}
    if same and not changed and before.keys() <= now.keys():
        return {**new, "history": old["history"]}
    if reason is None:
        causes = ([] if same else ["command"]) + differing
        reason = f"run again with another {', '.join(causes)}" if causes else "run again"
    return {**new, "history": retired(old, reason)["history"]}


def metrics_file(name: str, seed: int, text: str) -> tuple[str, str]:
    """The path of a run's evaluations below the folder of records, and their hash."""
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return f"{name}/{seed}-{sha256[:12]}.jsonl", sha256


def save(record: Record, texts: Mapping[str, str], results: Path) -> None:
    """Writes a record after the files that it names, then removes those that none of its runs names any more."""
    folder = results / record["row"]
    with disk.explained(f"Writing to {results}", "make room there, or mend what is said."):
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            disk.write(results / path, text)
        disk.write(results / f"{record['row']}.json", json.dumps(record, indent=2) + "\n")
        named = {results / run["metrics"] for run in record["runs"]}
        for path in set(folder.glob("*.jsonl")) - named:
            path.unlink()
