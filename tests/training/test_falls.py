"""A run says in a sentence that an evaluated value fell: once a fall, also where it is quiet, and not again after a resume."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from games import ARRAYS, fit, flat

import jaxgen
from jaxgen import data
from jaxgen.devices import hosts

ALARM = jaxgen.Alarm("test/score", "give a lower --learning-rate.", share=0.5, below=0.1, after=20)


def game(steps: int, source: data.Source | None = None) -> jaxgen.Experiment:
    """One number that is trained: next to nothing to compile."""

    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        return (params["model"] - flat(batch).mean(-1)) ** 2, jaxgen.Aux()

    return jaxgen.Experiment(
        train=data.shuffled(source or data.from_arrays(ARRAYS, name="noise"), 6, data.scale()),
        players={"model": jaxgen.Player(loss, optax.sgd(0.1))},
        steps=steps,
        init=lambda key: ({"model": jnp.ones(())}, {}),
        best=None,
    )


def scored(values: Mapping[int, Any], steps: int, **fields: Any) -> jaxgen.Experiment:
    """A game whose evaluation finds the value of the step; what is an exception is raised."""

    def score(state: jaxgen.TrainState, key: Any, track: Any) -> dict[str, float]:
        value = values[int(state.step)]
        if isinstance(value, Exception):
            raise value
        return {} if value is None else {"score": value, "loss": 1.0}

    return game(steps)._replace(evaluators={"test": score}, alarms=(ALARM,), **fields)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    # Where other bars are open, a sequence for the cursor precedes the sentence, and it ends with a letter.
    return re.findall(r"Alarm: (.*)$", capsys.readouterr().err, flags=re.MULTILINE)


def test_a_fall_is_said_once_and_again_after_the_value_rose(capsys: pytest.CaptureFixture[str]) -> None:
    values = {10: 0.8, 20: 0.3, 30: 0.2, 40: 0.9, 50: 0.2}
    truth = fit(scored(values, 50)._replace(alarms=())).digest()
    assert said(capsys) == []
    run = fit(scored(values, 50))
    assert said(capsys) == [
        "test/score is 0.3 at step 20, after 0.8 at step 10: give a lower --learning-rate.",
        "test/score is 0.2 at step 50, after 0.9 at step 40: give a lower --learning-rate.",
    ]
    assert run.digest() == truth
    assert run.position == 50
    assert [line["score"] for line in run.history if line["split"] == "test"] == list(values.values())


def test_a_value_that_never_rose_is_said_from_the_step_of_the_floor_on(capsys: pytest.CaptureFixture[str]) -> None:
    fit(scored({10: 0.0, 20: 0.0, 30: 0.0}, 30))
    assert said(capsys) == ["test/score is 0 at step 20: give a lower --learning-rate."]


def test_a_resume_does_not_say_it_again_and_remembers_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {10: 0.8, 20: 0.3, 30: 0.3, 40: 0.6, 50: 0.39}
    fit(scored(values, 20), tmp_path)
    assert len(said(capsys)) == 1
    for steps in (20, 40):  # nothing to do, then ten steps twice
        fit(scored(values, steps), tmp_path)
        assert said(capsys) == []
    fit(scored(values, 50), tmp_path)
    assert said(capsys) == ["test/score is 0.39 at step 50, after 0.8 at step 10: give a lower --learning-rate."]


def test_a_line_that_was_there_before_a_resume_rings_no_second_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was killed between the lines of two splits evaluates both again, and the first has rung."""
    values = {10: 0.8, 20: 0.3}
    made = scored(values, 20)
    both = made._replace(evaluators={**made.evaluators, "validation": lambda *_: {"score": 1.0}})
    fit(both, tmp_path)
    assert len(said(capsys)) == 1
    path = tmp_path / "metrics.jsonl"
    kept = path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert '"validation"' in kept[-1]
    path.write_text("".join(kept[:-1]), encoding="utf-8")
    fit(both, tmp_path)
    assert said(capsys) == []
    assert path.read_text(encoding="utf-8") == "".join(kept)


@pytest.mark.parametrize("without", [ValueError("shapes differ"), None, np.nan], ids=["failed", "missing", "nan"])
def test_an_evaluation_without_a_value_rings_nothing_and_ends_no_fall(without: Any, capsys: pytest.CaptureFixture[str]) -> None:
    values = {10: without, 20: 0.8, 30: without, 40: 0.3, 50: without, 60: 0.3}
    run = fit(scored(values, 60))
    assert run.position == 60
    assert said(capsys) == ["test/score is 0.3 at step 40, after 0.8 at step 20: give a lower --learning-rate."]


@pytest.mark.parametrize("quiet", [True, False])
def test_a_quiet_run_says_it_too_and_only_the_main_host(
    quiet: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(scored({10: 0.8, 20: 0.3}, 20), quiet=quiet)
    assert len(said(capsys)) == 1
    monkeypatch.setattr(hosts, "is_main_host", lambda: False)
    fit(scored({10: 0.8, 20: 0.3}, 20), quiet=quiet)
    assert said(capsys) == []


def test_a_value_of_the_end_and_several_alarms(capsys: pytest.CaptureFixture[str]) -> None:
    made = scored({10: 0.8, 20: 0.3}, 20)
    late = jaxgen.Alarm("test/active", "nothing is active.", below=1)
    other = jaxgen.Alarm("other/score", "this split is not evaluated.", below=1)
    fit(made._replace(final={"test": lambda *_: {"active": 0.0}}, alarms=(late, other, ALARM)))
    found = said(capsys)
    assert [line.partition(":")[2] for line in found] == [" give a lower --learning-rate.", " nothing is active."]


def test_alarms_follow_the_validation_split(capsys: pytest.CaptureFixture[str]) -> None:
    """The held-out examples are watched in training, and the test examples, evaluated once at the end, ring nothing."""

    @jaxgen.recorded
    def cut(*, steps: int = 20) -> jaxgen.Experiment:
        test = data.load(data.from_arrays(ARRAYS, name="noise"), "test")
        train = data.load(data.from_arrays(ARRAYS, name="noise"), "train")
        score = lambda state, *_: {"score": 0.8 if int(state.step) == 10 else 0.1, "n": float(test.length)}
        return game(steps, train)._replace(evaluators={"test": score}, alarms=(ALARM,))

    fit(cut(validation=0.2))
    assert said(capsys) == ["validation/score is 0.1 at step 20, after 0.8 at step 10: give a lower --learning-rate."]
