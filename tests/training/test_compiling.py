"""The bar of a training: it says what is done beside the steps, and its rate and ETA are those of the steps alone."""

import io
from pathlib import Path
from typing import Any, ClassVar

import pytest
from games import fit, regression

import jaxgen
from jaxgen import progress
from jaxgen.training import loop


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize("beside", [0.0, 180.0, 10_000.0])
def test_rate_and_eta_leave_out_what_is_done_beside(beside: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "STDERR", io.StringIO())
    clock = Clock()
    bar = progress.Bar(total=1000, initial=100, now=clock)
    for what in ("compiling", "evaluating test", "saving"):
        with bar.beside(what):
            clock.time += beside
            with bar.beside("another"):
                clock.time += beside
        clock.time += 2.0
        bar.update(20)
    bar.refresh()
    bar.close()
    last = progress.STDERR.getvalue().split("\r")[-1]
    assert "160/1000 [00:06<01:24, 10.00step/s]" in last  # 840 steps are left, of 0.1 s each
    assert bar.clock() == 106.0


def test_the_bar_says_what_is_done_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "STDERR", io.StringIO())
    bar = progress.Bar(total=10)
    with bar.beside("compiling"):
        assert progress.STDERR.getvalue().split("\r")[-1].startswith("compiling:   0%")
    bar.update(1)
    bar.refresh()
    assert progress.STDERR.getvalue().split("\r")[-1].startswith("training:")


class Told(progress.Bar):
    """A bar that keeps what it said, each with the step."""

    told: ClassVar[list[tuple[int, str]]] = []

    def says(self, what: str) -> None:
        self.told.append((self.n, what))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    monkeypatch.setattr(Told, "told", [])
    monkeypatch.setattr(loop, "Bar", lambda **how: Told(**{**how, "quiet": False}))
    monkeypatch.setattr(progress, "STDERR", io.StringIO())
    return Told.told


def test_a_run_compiles_once_and_says_so_before_its_first_step(tmp_path: Path, told: list[tuple[int, str]]) -> None:
    fit(regression(steps=20), tmp_path)
    first = [(0, "compiling"), (10, "compiling, then evaluating test"), (10, "evaluating test")]
    assert told[:1] == first[:1]
    assert [one for one in told if one[1].startswith("compiling")] == [*first[:2], (10, "compiling, then drawing noise")]
    assert {(5, "saving"), (10, "evaluating test"), (20, "evaluating test"), (20, "drawing noise")} <= set(told)
    told.clear()
    fit(regression(steps=30), tmp_path)  # a resume compiles again
    assert [one for one in told if one[1].startswith("compiling")] == [
        (20, "compiling"),
        (30, "compiling, then evaluating test"),
        (30, "compiling, then drawing noise"),
    ]


def test_the_logged_rate_leaves_the_compilation_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    compiled: list[Any] = []
    monkeypatch.setattr(loop, "Bar", lambda **how: progress.Bar(**how, now=clock))
    make = loop.program.make_advance

    def slow_to_compile(step: Any, chunk: int) -> Any:
        advance = make(step, chunk)

        def traced(*args: Any) -> Any:
            clock.time += 180.0  # runs while JAX traces, which is within the compilation
            compiled.append(args)
            return advance(*args)

        return traced

    def timed(token: Any, **how: Any) -> Any:
        clock.time += 0.5  # a call
        return token

    monkeypatch.setattr(loop.program, "make_advance", slow_to_compile)
    monkeypatch.setattr(loop, "wait", timed)
    run = jaxgen.fit(regression(steps=8), steps_per_call=2, log_every=8, evaluate_every=8, quiet=True)
    assert len(compiled) == 1
    line = next(line for line in run.history if line["split"] == "train")
    calls = round(8 * 6 / line["examples_per_second"] / 0.5)
    assert line["examples_per_second"] == pytest.approx(8 * 6 / (0.5 * calls))
    assert calls < 12
