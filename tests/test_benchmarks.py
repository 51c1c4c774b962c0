"""Every benchmark runs, at a size at which its figures mean nothing."""

import doctest
import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

import contract
import games
import pytest

import experiments.benchmarks
import experiments.benchmarks.peers
import jaxgen
from experiments.benchmarks import devices, first_commands, growth, side_by_side, table
from experiments.benchmarks.alone import alone
from jaxgen.runs.run import begin


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
OTHERS = {"alone", "first_commands", "growth", "pairing", "peers", "side_by_side", "table"}
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


@pytest.mark.parametrize("module", [devices, first_commands, growth, table])
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


def test_the_first_commands_are_those_of_the_descriptions() -> None:
    for name in jaxgen.experiments.names():
        *before, own = first_commands.commands(name)
        assert own.split()[0] == f"experiments.{name}"
        assert bool(before) == contract.stands_on_a_run(name)


def test_the_first_commands_of_all_experiments_can_share_a_folder() -> None:
    """As those of a newcomer do, who tries one experiment after another: no two leave their runs in one place."""
    places = {}
    for command in (command for name in jaxgen.experiments.names() for command in first_commands.commands(name)):
        module, *flags = command.split()
        place = flags[flags.index("--workdir") + 1] if "--workdir" in flags else f"runs/{module.rpartition('.')[2]}"
        assert places.setdefault(place, command) == command


def test_what_a_command_takes_is_that_of_its_process(tmp_path: Path) -> None:
    held = b"x" * (500 << 20)  # of which nothing counts
    command = [sys.executable, "-c", "import time; x = bytearray(300 << 20); time.sleep(0.3); sum(range(3_000_000))"]
    seconds, processor_seconds, peak = first_commands.spent(command, tmp_path)
    assert seconds > 0.3
    assert processor_seconds > 0
    assert 300 <= peak < 400 < len(held) >> 20
    with pytest.raises(jaxgen.UserError, match=r"ended with 3; .*output.txt says why"):
        first_commands.spent([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)


@pytest.mark.slow
def test_a_first_command_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_commands, "RESULTS", tmp_path / "records.json")
    monkeypatch.setattr(first_commands, "commands", lambda name: [f"experiments.{name} --steps 2 --dataset digits"])
    first_commands.main(("vib",), folder=tmp_path / "runs")
    record = first_commands.kept()["vib"]
    assert record.seconds > 0
    assert record.processor_seconds > 0
    assert "test error" in record.figures
    with pytest.raises(jaxgen.UserError, match="exists already"):
        first_commands.main(("vib",), folder=tmp_path / "runs")


def test_the_result_of_a_command_is_what_its_protocol_names_or_what_was_evaluated() -> None:
    history = [
        {"step": 5, "split": "train", "loss": 9.0},
        {"step": 5, "split": "test", "loss": 2.0, "loss_stderr": 0.5, "nll": 1.0},
    ]
    made = games.regression(steps=5)
    run = lambda **changed: jaxgen.Run(made._replace(**changed), begin(made, 0), 0, 5, history=history)
    assert first_commands.figures_of(run(protocol={"nll": ()})) == {"test nll": (1.0, None)}
    assert first_commands.figures_of(run(protocol={})) == {"test loss": (2.0, 0.5), "test nll": (1.0, None)}


def test_systems_are_trained_once_each_and_put_on_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, pages = [], []
    monkeypatch.setattr(side_by_side, "spent", lambda command, folder: trained.append((command[2:], folder)))
    monkeypatch.setattr(side_by_side, "page", lambda runs, **options: pages.append((runs, options)))
    side_by_side.main(("ddpm", "analytic_dpm"), out=tmp_path / "page", folder=tmp_path / "runs", n=7)
    assert [command for command, _ in trained] == [[f"jaxgen.experiments.{n}"] for n in ("lenet", "ddpm", "analytic_dpm")]
    ((runs, options),) = pages
    assert runs == tuple(tmp_path / "runs" / "runs" / name for name in ("ddpm", "analytic_dpm"))
    assert (options["extractor"], options["n"]) == (tmp_path / "runs" / "runs" / "lenet", 7)
    with pytest.raises(jaxgen.UserError, match="ddmp"):
        side_by_side.main(("ddmp",), out=tmp_path / "page", folder=tmp_path / "runs")


def test_all_diffusion_systems_are_side_by_side() -> None:
    """Each after the systems that it stands on."""
    assert set(side_by_side.SYSTEMS) <= set(jaxgen.experiments.names())
    for i, name in enumerate(side_by_side.SYSTEMS):
        before = [command.split()[0].removeprefix("experiments.") for command in first_commands.commands(name)[:-1]]
        assert all(other in side_by_side.SYSTEMS[:i] for other in before if other in side_by_side.SYSTEMS)


def test_the_readme_holds_the_records_of_the_first_commands() -> None:
    readme = (Path(experiments.benchmarks.__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert first_commands.written(readme, first_commands.kept()) == readme
    assert set(first_commands.LINE.findall(readme)) == set(jaxgen.experiments.names())
    record = first_commands.Record("", 130.0, 240.0, 900.0, {"test/a error": (0.0871, None)}, {})
    line = "| `python -m experiments.vae` | VAE | its paper |"
    assert first_commands.written(f"{line} |\n", {}) == f"{line} |\n"
    assert first_commands.written(f"{line} an old one |\n", {"vae": record}) == f"{line} 2.2 min, 0.9 GiB; a error 0.0871 |\n"
