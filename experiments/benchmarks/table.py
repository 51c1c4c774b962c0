"""Writes the README's table of speed, and the whole one of this folder's README, from the JSON files that the benchmarks wrote.

python -m experiments.benchmarks.peers.vae --json experiments/benchmarks/results/peers.vae.json          # and so on
python -m experiments.benchmarks.table
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tyro

from experiments.ledger.page import put

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "README.md"
MARKS = ("<!-- speed: made by `python -m experiments.benchmarks.table` -->", "<!-- end of the table of speed -->")

SHORT = (
    *("peers.vae", "peers.unet", "peers.dcgan", "peers.clip", "peers.loading", "peers.fidelity"),
    *("overhead", "cache", "first_step", "startup"),
)
"""The benchmarks of the README's table, in its order; the page has all."""


def latest(file: Path) -> Iterator[dict[str, Any]]:
    """The tables of a benchmark's file, of each title the last one."""
    yield from {table["benchmark"]: table for table in json.loads(file.read_text(encoding="utf-8"))}.values()


def rows(name: str, table: dict[str, Any]) -> Iterator[str]:
    """A line for each contender but the first, with which it is compared.

    >>> results = {"pythae": {"median": 2e4, "ratio": 1.0}, "jaxgen": {"median": 5e4, "ratio": 2.5}}
    >>> print(*rows("vae", {"benchmark": "VAE", "unit": "examples/s", "results": results}))
    | `vae` | VAE | jaxgen: 50,000 examples/s | pythae: 20,000 | 2.50 |
    """
    unit, results = table["unit"], dict(table["results"])
    first, against = next(iter(results.items()))
    others = {other: row for other, row in results.items() if other != first}
    if not others:
        yield f"| `{name}` | {table['benchmark']} | {first}: {number(against['median'])} {unit} | | |"
    for other, row in others.items():
        ratio = row["ratio"] if unit.endswith("/s") else 1 / row["ratio"]
        measured = f"{other}: {number(row['median'])} {unit}"
        yield f"| `{name}` | {table['benchmark']} | {measured} | {first}: {number(against['median'])} | {ratio:.2f} |"


def number(value: float) -> str:
    """Three digits, or all before the point.

    >>> number(0.7349), number(12.345), number(41234.5)
    ('0.735', '12.3', '41,234')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def written(files: list[Path]) -> str:
    """The table of these files."""
    lines = ["| benchmark | what | measured | against | ratio |", "| --- " * 5 + "|"]
    lines += [row for file in files for table in latest(file) for row in rows(file.stem, table)]
    machines = {
        (m["device"], m["cores"], m["python"], m["jax"]) for file in files for m in (t["machine"] for t in latest(file))
    }
    made_on = "; ".join(
        f"{device}, {cores} cores, Python {python}, jax {jax}" for device, cores, python, jax in sorted(machines)
    )
    return "\n".join([*lines, "", f"Medians, measured on: {made_on}."])


def main(*, readme: Path = Path("README.md")) -> None:
    """Writes both.

    Args:
      readme: the project's README.
    """
    short = [file for name in SHORT if (file := RESULTS / f"{name}.json").exists()]
    for document, files in {readme: short, PAGE: sorted(RESULTS.glob("*.json"))}.items():
        document.write_text(put(document.read_text(encoding="utf-8"), written(files), *MARKS), encoding="utf-8")
        print(f"{document}: {len(files)} benchmarks")


if __name__ == "__main__":
    tyro.cli(main)
