"""The method of every benchmark: contenders in turn, A B A B ..., so that a machine's drift hits all of them alike."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jaxlib


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call, until its results are ready on the device."""
    start = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - start


def pair(contenders: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, dict[str, float]]:
    """Measures contenders in alternation, after one round that does not count.

    Args:
      contenders: the functions to compare, by name; each runs once and returns its measure; the first is what the others are
        divided by.
      rounds: the number of times that each is measured.

    Returns:
      The summary by name: the median, the least and the greatest measure, and the median of the ratios to the first by round.
    """
    measures: dict[str, list[float]] = {name: [] for name in contenders}
    for count in range(rounds + 1):
        for name, contender in contenders.items():
            measure = contender()
            if count > 0:
                measures[name].append(measure)
    first = next(iter(measures.values()))
    return {
        name: {
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
            "ratio": statistics.median(v / f for v, f in zip(values, first, strict=True)),
        }
        for name, values in measures.items()
    }


def report(title: str, unit: str, results: Mapping[str, Mapping[str, float]], json_file: Path | None) -> None:
    """Prints a table, and writes it with the machine and the versions to a file."""
    print(f"{title} [{unit}]")
    for name, row in results.items():
        spread = f"{row['min']:,.4g} to {row['max']:,.4g}"
        print(f"  {name:36} median {row['median']:>12,.4g}   ({spread})   ratio {row['ratio']:.3f}")
    if json_file is not None:
        machine = {
            "device": jax.devices()[0].device_kind,
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
        }
        table = {"benchmark": title, "unit": unit, "results": results, "machine": machine}
        earlier = json.loads(json_file.read_text(encoding="utf-8")) if json_file.exists() else []
        json_file.write_text(json.dumps([*earlier, table], indent=2) + "\n", encoding="utf-8")
