"""Every benchmark runs, at a size at which its figures mean nothing."""

import doctest
import importlib
import json
import os
import pkgutil
from pathlib import Path
from typing import Any

import games
import pytest

import experiments.benchmarks
import experiments.benchmarks.peers
import jaxgen
from experiments.benchmarks import devices, growth, table
from experiments.benchmarks.alone import alone


def bare(steps: int = 1, batch_size: int = 6) -> jaxgen.Experiment:
    """Trains and does nothing else."""
    return games.regression(steps=steps, batch_size=batch_size)._replace(evaluators={}, final={}, pictures={})


def here(contender: Any) -> Any:
    """A contender in this process: what `alone` starts a process for."""
    return contender


SMALL: dict[str, dict[str, Any]] = {
    "accelerator": {
        "ddpm": lambda batch: bare(batch_size=batch),
        "vit": lambda batch: bare(batch_size=batch),
    },
    "cache": {"EXAMPLES": 200, "BATCH": 10, "STEPS": 20},
    "convolution": {"SHAPES": ((2, 8, 4),)},
    "devices": {
        "experiment": lambda steps, batch_size: bare(batch_size=batch_size),
        "BATCH": 2,
        "COUNTS": (1, 2),
        "alone": here,
    },
    "first_step": {"STEPS": 20, "EXAMPLES": 1000},
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
LONG = ("startup", "first_step", "devices")
OTHERS = {"alone", "growth", "pairing", "peers", "table"}
"""Modules that are no such benchmark; tests of their own follow."""


def test_none_is_left_out() -> None:
    assert {module.name for module in pkgutil.iter_modules(experiments.benchmarks.__path__)} == {*SMALL, *OTHERS}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in SMALL])
def test_it_measures_and_says_what(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)
    module = importlib.import_module(f"experiments.benchmarks.{name}")
    for attribute, value in SMALL[name].items():
        monkeypatch.setattr(module, attribute, value)
    module.main(rounds=1, json_file=tmp_path / "tables.json", **ARGUMENTS.get(name, {}))
    tables = json.loads((tmp_path / "tables.json").read_text())
    told = capsys.readouterr().out
    assert tables
    for made in tables:
        assert f"{made['benchmark']} [{made['unit']}]" in told
        for contender, row in made["results"].items():
            assert contender in told
            assert 0 < row["min"] <= row["median"] <= row["max"]
            assert row["ratio"] > 0


def test_a_contender_alone_has_a_process_of_its_own() -> None:
    assert alone(os.getpid)() != os.getpid()


@pytest.mark.parametrize("module", [devices, growth, table])
def test_the_examples_of_the_tools_run(module: Any) -> None:
    tried = doctest.testmod(module)
    assert tried.attempted > 0
    assert tried.failed == 0


def test_bytes_of_a_program_are_those_of_its_collectives() -> None:
    program = """
      %a = (f32[8,2]{1,0}, bf16[3]{0}) all-reduce(%x, %y), to_apply=%add
      %b = f32[100]{0} add(%c, %d)
      %e = f32[] all-gather-start(%f)
    """
    assert devices.communicated(program) == 64 + 6 + 4


def test_growth_draws_and_writes_every_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {n: lambda n=n: growth.Measured(2.0 * n**2, 5.0 * n, 3.0) for n in (1, 2, 4)}
    monkeypatch.setattr(growth, "AXES", {"batch": sizes})
    monkeypatch.setattr(growth, "alone", here)
    growth.main(out=tmp_path)
    found = json.loads((tmp_path / "growth.json").read_text())["batch"]
    assert [round(found[field]["exponent"], 6) for field in growth.Measured._fields] == [2.0, 1.0, 0.0]
    assert (tmp_path / "growth.png").stat().st_size > 0


def test_the_documents_hold_the_tables_of_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As `ledger` is held: nobody types a figure."""
    root = Path(experiments.benchmarks.__file__).parents[2]
    readme, page = tmp_path / "README.md", tmp_path / "PAGE.md"
    readme.write_text((root / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    page.write_text(table.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    committed = table.PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(table, "PAGE", page)
    table.main(readme=readme)
    assert readme.read_text(encoding="utf-8") == (root / "README.md").read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8") == committed
