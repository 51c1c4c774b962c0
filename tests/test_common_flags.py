"""Flags that experiments have in common: described once, and given to every experiment."""

import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from games import regression

import jaxgen
from jaxgen import data, experiments
from jaxgen.commands import arguments
from jaxgen.common_flags import DESCRIPTIONS, described

NAMES = experiments.names()
LOAD = sys.modules[data.load.__module__]


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_of_every_experiment_is_described(name: str) -> None:
    function = experiments.find(name)
    told = arguments.helps(function)
    assert set(told) == set(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_no_experiment_repeats_a_common_description(name: str) -> None:
    own = (experiments.FOLDER / f"{name}.py").read_text(encoding="utf-8")
    repeated = [flag for flag, text in DESCRIPTIONS.items() if f"      {flag}: {text}\n" in own]
    assert not repeated


def test_the_common_descriptions_are_used() -> None:
    flags = {flag for name in NAMES for flag in inspect.signature(experiments.find(name)).parameters}
    assert set(DESCRIPTIONS) <= flags


def test_what_an_experiment_says_of_a_flag_counts() -> None:
    doc = """A model.

    Args:
      steps: training steps, of the critic;
        the generator moves less often.

    Returns:
      The experiment.
    """
    whole = described(doc, {"latents": 0, "steps": 0})
    assert whole == (
        "A model.\n\nArgs:\n  latents: dimension of z.\n  steps: training steps, of the critic;\n"
        "    the generator moves less often.\n\nReturns:\n  The experiment."
    )


def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The folders and budgets that sets are opened with."""
    seen: list[tuple[Any, ...]] = []
    mine = data.from_arrays({"image": np.zeros((4, 2, 2, 1), np.uint8)})
    monkeypatch.setattr(LOAD, "_found", lambda dataset, split, data_dir: seen.append((data_dir,)) or mine)
    monkeypatch.setattr(LOAD, "_ready", lambda source, dataset, budget, *mapped: seen.append((budget,)) or source)
    return seen


def test_the_place_of_the_data_reaches_every_load_within(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = opened(monkeypatch)

    @jaxgen.recorded
    def inner(*, steps: int = 1) -> jaxgen.Experiment:
        data.load("noise", "train")
        return regression(steps=steps)

    @jaxgen.recorded
    def outer() -> jaxgen.Experiment:
        data.load("noise", "test", cache_budget=1.0)
        return inner(steps=2)

    made = outer(data_dir=str(tmp_path), cache_budget=0.5)
    assert seen == [(str(tmp_path),), (1.0,), (str(tmp_path),), (0.5,)]
    assert made.config is not None
    assert made.config.flags == {"data_dir": str(tmp_path), "cache_budget": 0.5}
    seen.clear()
    inner()
    assert seen == [(None,), (4.0,)]


def test_a_budget_below_zero_is_refused() -> None:
    with pytest.raises(jaxgen.UserError, match=r"^--cache-budget is -1"):
        regression(cache_budget=-1.0)


def test_an_experiment_that_has_the_flag_itself_gets_it() -> None:
    @jaxgen.recorded
    def mine(*, data_dir: str = "here") -> jaxgen.Experiment:
        assert data_dir == "there"
        return regression()

    made = mine(data_dir="there")
    assert made.config is not None
    assert made.config.flags == {"data_dir": "there", "cache_budget": 4.0}
