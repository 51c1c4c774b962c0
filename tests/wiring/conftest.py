"""What the tests of wiring look through."""

from typing import Any, NamedTuple

import pytest

import jaxgen
from jaxgen import data
from jaxgen.measuring import collapse


class Measured(NamedTuple):
    """What an evaluator reads: a split, by which measure, after which transform."""

    source: data.Source
    measure: Any
    transform: data.Transform


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Measured]:
    """The evaluators of the experiments that a test makes, in the order in which they are made; they evaluate nothing."""
    seen: list[Measured] = []

    def mean_over(source: data.Source, measure: Any, *, transform: data.Transform = data.identity, **how: Any) -> Any:
        seen.append(Measured(source, measure, transform))
        return lambda *args: {}

    monkeypatch.setattr(jaxgen, "mean_over", mean_over)
    return seen


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[data.Source]:
    """The splits over which the experiments that a test makes count their active latents."""
    seen: list[data.Source] = []
    count = collapse.active_units

    def active_units(source: data.Source, *args: Any, **how: Any) -> Any:
        seen.append(source)
        return count(source, *args, **how)

    monkeypatch.setattr(collapse, "active_units", active_units)
    return seen
