"""Every benchmark runs, at a size at which its figures mean nothing."""

import importlib
import json
import os
import pkgutil
from pathlib import Path
from typing import Any

import games
import pytest

import experiments.benchmarks
import jaxgen


def bare(steps: int = 1, batch_size: int = 6) -> jaxgen.Experiment:
    """Trains and does nothing else."""
    return games.regression(steps=steps, batch_size=batch_size)._replace(evaluators={}, final={}, pictures={})


SMALL = {
    "accelerator": {
        "ddpm": lambda batch: bare(batch_size=batch),
        "vit": lambda batch: bare(batch_size=batch),
    },
    "cache": {"EXAMPLES": 200, "BATCH": 10, "STEPS": 20},
    "convolution": {"SHAPES": ((2, 8, 4),)},
    "guard": {"experiment": bare},
    "overhead": {"experiment": bare, "BATCH": 6},
    "startup": {},
}
"""By benchmark, what takes the place of its own."""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "accelerator": {"peak": 1.0, "ddpm_batch": 8, "vit_batch": 8, "calls": 1, "chunk": 2},
    "guard": {"steps": 300},
    "overhead": {"steps": 300},
}
PROCESSES = pytest.param("startup", marks=pytest.mark.slow)


def test_none_is_left_out() -> None:
    assert {module.name for module in pkgutil.iter_modules(experiments.benchmarks.__path__)} == {*SMALL, "pairing"}


@pytest.mark.parametrize("name", [PROCESSES if name == "startup" else name for name in SMALL])
def test_it_measures_and_says_what(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)
    module = importlib.import_module(f"experiments.benchmarks.{name}")
    for attribute, value in SMALL[name].items():
        monkeypatch.setattr(module, attribute, value)
    module.main(rounds=1, json_file=tmp_path / "tables.json", **ARGUMENTS.get(name, {}))
    tables = json.loads((tmp_path / "tables.json").read_text())
    told = capsys.readouterr().out
    assert tables
    for table in tables:
        assert f"{table['benchmark']} [{table['unit']}]" in told
        for contender, row in table["results"].items():
            assert contender in told
            assert 0 < row["min"] <= row["median"] <= row["max"]
            assert row["ratio"] > 0
