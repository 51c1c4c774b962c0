"""The ledger as people read it: a page with every row, and a table in the README. Both are made from the records alone."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .records import RESULTS, read
from .row import Figure, Row
from .rows import ROWS
from .verdict import Estimate, Status, Verdict, estimate, verdict

BEGIN, END = "<!-- ledger: made by `jaxgen ledger` -->", "<!-- end of the ledger -->"
PAGE = Path(__file__).parent / "README.md"

STATUSES: Mapping[Status, str] = {
    Status.REPRODUCED: "the paper's system and protocol, all seeds of the row, and a value within the bound. The bound is the "
    "paper's own error, on both sides; where the paper gives none, two standard errors of ours about the paper's value, or two "
    "standard errors about the value of a named rerun.",
    Status.NEAR: "the paper's system, printed with its distance: within twice the bound, or by a protocol that is reduced; or "
    "within the bound, but something keeps it from counting: the protocol differs, a setting was chosen while the test figure "
    "was known, seeds are missing. A value without any error on record is called near too, until there is one.",
    Status.MISSED: "the paper's system, and a value beyond that; printed with its distance.",
    Status.OTHER_SYSTEM: "the system is not the paper's: the figures stand beside each other and are not compared.",
    Status.BASELINE: "a figure of this project's own, compared with nothing.",
    Status.NOT_RUN: "no run by the row's command is on record.",
}
"""The meaning of each status, for the page."""


def number(value: float, error: float | None) -> str:
    """A value with the digits that its error leaves: two of the error's own.

    >>> number(90.33088, 0.2512), number(0.0085, None), number(25.0, 0.0)
    ('90.33 +- 0.25', '0.0085', '25 +- 0')
    """
    if not error:
        return f"{value:.4g}" if error is None else f"{value:.4g} +- 0"
    decimals = max(1 - math.floor(math.log10(error)), 0)
    return f"{value:.{decimals}f} +- {error:.{decimals}f}"


def ours(found: Estimate | None) -> str:
    """The measured value, with its standard error and the number of seeds."""
    if found is None:
        return ""
    error = "" if found.error is not None else "; no error on record"
    spread = "" if found.deviation is None else f", standard deviation {found.deviation:.2g}"
    return f"{number(found.value, found.error)} ({found.seeds} seed{'' if found.seeds == 1 else 's'}{spread}{error})"


def published(figure: Figure) -> str:
    """A published value, as it was published."""
    return f"{figure.value:g}" if figure.error is None else f"{figure.value:g} +- {figure.error:g}"


def status(row: Row, found: Verdict) -> str:
    """The status, with the distance where the value is compared."""
    if found.status not in (Status.NEAR, Status.MISSED) or found.distance is None:
        return str(found.status)
    return f"{found.status}: {distance(row, found.distance)}"


def distance(row: Row, value: float) -> str:
    """The distance of a value from the paper's, and the side on which it lies."""
    size = f"{abs(value):.2g}" if abs(value) < 10 else f"{abs(value):.3g}"
    return f"{size} {row.unit}".rstrip() + (" above" if value > 0 else " below")


def bound(row: Row, found: Verdict) -> str:
    """The interval within which a value counts as the paper's, and the reason; or the reason why nothing is compared."""
    if found.status is Status.OTHER_SYSTEM:
        return "none: another system"
    if row.paper is None:
        return "none: a baseline"
    if row.paper.error is not None:
        return f"{published(row.paper)} (the paper's own error)"
    parts = [f"{number(one.centre, one.half)} ({one.reason})" for one in found.bounds]
    if not any(one.centre == row.paper.value for one in found.bounds):
        parts.insert(0, f"{published(row.paper)} +- two standard errors of ours (none on record)")
    return "; or ".join(parts)


def table(results: Path = RESULTS) -> str:
    """The short table, for the README: one line per row."""
    records = read(results)
    lines = ["| row | system and figure | paper | ours | counts as the paper's within | status |", "| --- " * 6 + "|"]
    for name, row in ROWS.items():
        record = records.get(name)
        found = verdict(row, record)
        what = f"{row.system}; {row.dataset}: {row.figure}"
        paper = "none" if row.paper is None else published(row.paper) + ("" if row.paper.read_in else " (not read)")
        measured = ours(None if record is None else estimate(record))
        lines.append(f"| `{name}` | {what} | {paper} | {measured} | {bound(row, found)} | {status(row, found)} |")
    return "\n".join(lines)


def page(results: Path = RESULTS) -> str:
    """The page: of every row the command, the protocol, its sources, and what was measured when, on what, in how long."""
    records = read(results)
    parts = [
        "# The ledger",
        "",
        "Figures of papers, and what this code measures by the command below each: the value of the last step, its mean over",
        "seeds. `jaxgen reproduce NAME --data-dir D` runs a row for you, into a folder of your own; with",
        "`--results experiments/ledger/results` it makes the committed record anew, and `jaxgen ledger` makes this page: no",
        "value was typed. Missed ones stay, and so does what was measured before. Times are by the clock, beside whatever else",
        "the machine did.",
        "",
        table(results),
        "",
        "After +- stands a standard error: over several seeds that of their mean, of one run that over the test examples.",
        "",
        *(f"- **{one}**: {meaning}" for one, meaning in STATUSES.items()),
    ]
    for name, row in ROWS.items():
        parts += ["", f"## {name}", "", *_section(row, records.get(name))]
    return "\n".join(parts) + "\n"


def put(text: str, inside: str, first: str = BEGIN, last: str = END) -> str:
    """A document with a table between its two marks.

    Args:
      text: the document.
      inside: the table.
      first: the mark before it.
      last: the mark after it.

    Returns:
      The document, with this table in place of the one that it had.
    """
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    assert begin, "the document has the mark at which the table begins"
    assert end, "the document has the mark at which the table ends"
    return f"{before}{first}\n\n{inside}\n\n{last}{after}"


def _section(row: Row, record: Mapping[str, Any] | None) -> list[str]:
    found = verdict(row, record)
    lines = [
        " ".join(f"{part[0].upper()}{part[1:]}." for part in (row.system, row.dataset, row.figure)),
        "",
        "```",
        row.command,
        "```",
        "",
        "- Paper: none." if row.paper is None else f"- Paper: {published(row.paper)}; {_source(row.paper)}.",
    ]
    lines += [f"- Rerun: {published(row.rerun)}; {_source(row.rerun)}."] if row.rerun else []
    lines += [f"- Other system: {row.other_system}."] if row.other_system else []
    lines += [f"- Reduced protocol: {row.reduced}."] if row.reduced else []
    lines += [f"- Other protocol: {row.differs}."] if row.differs else []
    lines += [f"- Settings: {'; '.join(f'{what}: {chosen}' for what, chosen in row.chosen.items())}."]
    lines += [f"- Remark: {row.remark}."] if row.remark else []
    lines += [f"- Counts as the paper's within: {bound(row, found)}."]
    short = f" Not counted as reproduced, whatever the value: {'; '.join(found.short_of)}." if found.short_of else ""
    lines += [f"- Status: {status(row, found)}.{short}"]
    if record is None:
        return lines
    measured = estimate(record)
    lines += [f"- Ours: {ours(measured)}."] if measured else []
    lines += [_run(run) for run in record["runs"]]
    lines += [_before(entry) for entry in reversed(record["history"])]
    return lines


def _source(figure: Figure) -> str:
    return f"{figure.source}; " + (f"read in {figure.read_in}" if figure.read_in else "read nowhere")


def _run(run: Mapping[str, Any]) -> str:
    others = "".join(f", {name.partition('/')[2]} {value:.4g}" for name, value in run["also"].items() if value is not None)
    versions = (
        f"jax {run['versions']['jax']}, flax {run['versions']['flax']}, jaxgen {run['versions']['jaxgen']}{_commits(run)}"
    )
    took = f"{_minutes(run['seconds'])} on {run['device']}"
    return (
        f"- Seed {run['seed']}: {number(run['value'], run.get('error'))}{others} at step {run['step']:,}; {took}, "
        f"{run['date']}, {versions}; config {run['config']}, [metrics](results/{run['metrics']})."
    )


def _commits(run: Mapping[str, Any]) -> str:
    """The commits that made a run, where they are on record."""
    commits = [
        code["commit"][:7] + (" with changes" if code["dirty"] else "") for code in run.get("code", []) if code["commit"]
    ]
    return f" at {', then '.join(commits)}" if commits else ""


def _before(entry: Mapping[str, Any]) -> str:
    seeds = f"{len(entry['seeds'])} seed{'' if len(entry['seeds']) == 1 else 's'}"
    return f"- Before: {number(entry['value'], entry['error'])} ({seeds}, {entry['date']}), replaced: {entry['reason']}."


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
