"""Alarms as functions of what a run has reported."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

import jaxgen
from jaxgen.alarms import rung

SHARE = jaxgen.Alarm("test/diversity", "samples are alike.", share=0.5)
FLOOR = jaxgen.Alarm("test/active", "no unit is used.", below=1)


def lines(values: Sequence[Any], name: str = "test/diversity", every: int = 10) -> list[dict[str, Any]]:
    """A line of each value, and lines of other splits and values about it."""
    split, _, metric = name.rpartition("/")
    found: list[dict[str, Any]] = []
    for i, value in enumerate(values):
        step = every * (i + 1)
        found.append({"step": step, "split": "train", "loss": -float(i), metric: 0.0})
        found.append({"step": step, "split": split, "loss": -float(i), **({} if value is None else {metric: value})})
        found.append({"step": step, "split": f"{split}/other", metric: 1e9})
    return found


def ringing(alarm: jaxgen.Alarm, values: Sequence[Any]) -> list[int]:
    """The numbers of the values at which it rings, where each is the last one that was reported."""
    history = lines(values, alarm.value)
    return [
        i
        for i in range(len(values))
        if rung(alarm, [line for line in history if line["step"] <= 10 * (i + 1)], 10 * (i + 1)) is not None
    ]


@pytest.mark.parametrize(
    ("values", "rings"),
    [
        ([0.2, 0.5, 0.9, 0.95, 0.8], []),
        ([0.8, 0.3], [1]),
        ([0.8, 0.4], []),  # exactly the share
        ([0.8, 0.3, 0.2, 0.0, 0.39], [1]),
        ([0.8, 0.3, 0.2, 0.5, 0.3, 0.1, 0.9, 0.44, 0.5, 0.4], [1, 4, 7, 9]),
        ([0.2, 0.8, 0.15, 0.3], [2]),  # 0.3 would have been a rise from the first
        ([0.8, math.nan, 0.7], []),
        ([0.8, 0.3, math.nan, 0.3, math.inf, 0.2], [1]),
        ([0.8, 0.3, None, 0.3, None, 0.7, None, 0.1], [1, 7]),
        ([math.inf, 0.1], []),
        ([math.nan, None, 0.0], []),
        ([0.0, 0.0], []),
        ([-1.0, -3.0], []),
    ],
)
def test_a_share_of_the_best_rings_once_a_fall(values: list[Any], rings: list[int]) -> None:
    assert ringing(SHARE, values) == rings


@pytest.mark.parametrize(
    ("values", "rings"),
    [
        ([0.0, 0.0, 0.0], [0]),
        ([3.0, 1.0, 1.0], []),
        ([0.0, 2.0, 0.0], [0, 2]),
        ([None, 0.0], [1]),
        ([math.nan, 0.0, math.nan, 0.0], [1]),
    ],
)
def test_a_floor_rings_from_the_start(values: list[Any], rings: list[int]) -> None:
    assert ringing(FLOOR, values) == rings


def test_a_floor_counts_from_its_step_on() -> None:
    for after, rings in ((20, [1]), (21, [2]), (41, [])):
        assert ringing(FLOOR._replace(after=after), [0.0, 0.0, 0.0, 0.0]) == rings
    # A fall to a share of the best counts at any step, and with a fall to the floor it is one.
    both = SHARE._replace(below=0.1, after=30)
    assert ringing(both, [0.8, 0.05, 0.05, 0.05]) == [1]
    assert ringing(both, [0.05, 0.05, 0.05, 0.8, 0.3]) == [2, 4]


def test_the_sentence_names_value_step_and_the_best_before() -> None:
    history = lines([0.25, 0.875, 0.5, 0.0123])
    assert rung(SHARE, history, 40) == "Alarm: test/diversity is 0.0123 at step 40, after 0.875 at step 20: samples are alike."
    assert rung(SHARE, history, 30) is None
    assert rung(FLOOR, lines([0.0], FLOOR.value), 10) == "Alarm: test/active is 0 at step 10: no unit is used."
    # Of equal values the first is the best, and of a value that is there twice a step the last one counts.
    assert "after 0.5 at step 10:" in str(rung(SHARE, lines([0.5, 0.5, 0.1]), 30))
    assert rung(SHARE, [*history, {"step": 40, "split": "test", "nll": 3.0}], 40) is not None
    assert rung(SHARE._replace(value="test/photos/diversity"), lines([1.0, 0.1], "test/photos/diversity"), 20) is not None
