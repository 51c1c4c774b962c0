"""Flags as people type them, as `--help` shows them, and as the name of a run's folder."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import experiments
from jaxgen.commands import arguments, command_line

NAMES = [m.name for m in pkgutil.iter_modules(experiments.__path__) if not m.ispkg]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["--hidden", "400,400"], {"hidden": (400, 400)}),
        (["--hidden", "(8, 4)", "--steps", "1e3"], {"hidden": (8, 4), "steps": 1000}),
        (["--hidden=[8,4]", "--latents=2.0"], {"hidden": (8, 4), "latents": 2}),
        (["--hidden", "8", "4", "--batch_size", "1_0"], {"hidden": (8, 4), "batch_size": 10}),
        (["\u2014beta", "3", "--max-kl", "none"], {"beta": 3.0, "max_kl": None}),
    ],
    ids=str,
)
def test_numbers_and_tuples_as_people_type_them(typed: list[str], read: dict[str, Any]) -> None:
    from experiments.vae import experiment

    assert {flag: value for flag, value in command_line.parse(experiment, typed).own.items() if flag in read} == read


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_of_help_is_in_a_group_and_every_group_names_flags_that_exist(name: str) -> None:
    known = {
        flag
        for other in NAMES
        for flag in inspect.signature(importlib.import_module(f"experiments.{other}").experiment).parameters
    }
    assert {flag for group in arguments.GROUPS.values() for flag in group} <= known | {"validation"}
    told = arguments.helps(importlib.import_module(f"experiments.{name}").experiment)
    assert all(text[-1] == "." and not re.match("(?i)(of|after|at) ", text) for text in told.values())


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\u6f22", "\U0001f642"])
def test_a_folder_of_a_name_that_flags_make_fits_a_file_system(letter: str, tmp_path: Path) -> None:
    made = [
        command_line.default_workdir("experiments.vae", {"dataset": letter * 120 + end}, {"dataset": "digits"}, 0)
        for end in "xy"
    ]
    assert made[0] != made[1]
    for name in made:
        assert name.startswith("runs/vae-dataset=" + letter)
        (tmp_path / name).mkdir(parents=True)
