"""The ledger as people read it: a page with every row, and a table in the README. Both are made from the records alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .reproduce import RESULTS, mean_and_deviation, read
from .rows import ROWS, Row

BEGIN, END = "<!-- ledger: made by `jaxgen ledger` -->", "<!-- end of the ledger -->"
PAGE = Path(__file__).parent / "README.md"


def status(name: str, records: Mapping[str, Mapping[str, Any]]) -> str:
    """What became of a row: not run, missed, reproduced, of a reduced protocol; or a baseline, which is held to nothing."""
    row = ROWS[name]
    if name not in records:
        return "not run"
    value, _ = mean_and_deviation(records[name])
    held = (row.at_most is None or value <= row.at_most) and (row.at_least is None or value >= row.at_least)
    if row.less_than is not None:
        if row.less_than not in records:
            return "waits for " + row.less_than
        held = held and value < mean_and_deviation(records[row.less_than])[0]
    if not held:
        return "missed"
    if row.reduced:
        return "reduced protocol"
    return "reproduced" if _bounds(row) else "baseline"


def ours(record: Mapping[str, Any] | None) -> str:
    """The value, with its standard deviation over the seeds if there are several."""
    if record is None:
        return ""
    value, deviation = mean_and_deviation(record)
    return f"{value:.4g}" if deviation is None else f"{value:.4g} +- {deviation:.2g} ({len(record['runs'])} seeds)"


def table(results: Path = RESULTS) -> str:
    """The short table, for the README: a line a row."""
    records = read(results)
    lines = ["| row | system and figure | paper | ours | status |", "| --- | --- | --- | --- | --- |"]
    for name, row in ROWS.items():
        what = f"{row.system}; {row.dataset}: {row.figure}"
        lines.append(f"| `{name}` | {what} | {row.paper} | {ours(records.get(name))} | {status(name, records)} |")
    return "\n".join(lines)


def page(results: Path = RESULTS) -> str:
    """The page: of every row the command, the protocol, and what was measured when, on what, in how long."""
    records = read(results)
    parts = [
        "# The ledger",
        "",
        "Figures of papers, and what this code measures by the command below each: the value of the last step, its mean over",
        "seeds. `jaxgen reproduce NAME --data-dir D` makes a row anew and `jaxgen ledger` this page: no value was typed.",
        "Missed ones stay. Times are by the clock, beside whatever else the machine did.",
        "",
        table(results),
    ]
    for name, row in ROWS.items():
        parts += ["", f"## {name}", "", *_section(name, row, records)]
    return "\n".join(parts) + "\n"


def put(text: str, inside: str) -> str:
    """A document with the table between its two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, "the document has the mark at which the table begins"
    assert end, "the document has the mark at which the table ends"
    return f"{before}{BEGIN}\n\n{inside}\n\n{END}{after}"


def _bounds(row: Row) -> list[str]:
    """What a value has to be to count as the paper's."""
    bounds = [f"at most {row.at_most:g}"] if row.at_most is not None else []
    bounds += [f"at least {row.at_least:g}"] if row.at_least is not None else []
    return bounds + ([f"less than that of `{row.less_than}`"] if row.less_than is not None else [])


def _section(name: str, row: Row, records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    bounds = _bounds(row)
    lines = [
        " ".join(f"{part[0].upper()}{part[1:]}." for part in (row.system, row.dataset, row.figure)),
        "",
        "```",
        row.command,
        "```",
        "",
        f"- Paper: {row.paper}; {row.source}.",
        f"- Counts as reproduced if it is {' and '.join(bounds)}." if bounds else "- Stands for itself.",
    ]
    lines += [f"- Less than the paper's protocol: {row.reduced}."] if row.reduced else []
    lines += [f"- Remark: {row.remark}."] if row.remark else []
    if name not in records:
        return [*lines, "- Not run yet."]
    record = records[name]
    lines.append(f"- Status: {status(name, records)}; ours {ours(record)}.")
    for run in record["runs"]:
        others = "".join(f", {other.partition('/')[2]} {value:.4g}" for other, value in run["also"].items())
        versions = f"jax {run['versions']['jax']}, flax {run['versions']['flax']}"
        took = f"{_minutes(run['seconds'])} on {run['device']}"
        lines.append(
            f"- Seed {run['seed']}: {run['value']:.5g}{others} at step {run['step']:,}; {took}, "
            f"{run['date']}, {versions}; config {run['config']}, [metrics](results/{run['metrics']})."
        )
    return lines


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
