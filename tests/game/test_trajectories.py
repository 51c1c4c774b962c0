"""A trajectory is one whatever interrupts it: N steps are k steps, a stop, a resume and N - k steps.

Equal are every bit of the state, the lines of the metrics, and the examples that the compiled step consumed. A stop is either
a run with fewer steps, or a signal at any moment: between steps, within one, within a micro-batch, within an evaluation.
"""

import _thread
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import contract
import jax
import pytest
from consumed import Consumed, ids, watched
from games import adversarial, fit, regression
from jax.experimental import io_callback
from test_experiments import NAMES

import jaxgen
from jaxgen.devices import parallel
from jaxgen.runs import load
from jaxgen.runs.journal import read_jsonl
from jaxgen.training import program

TIMED = ("examples_per_second",)


def lines(workdir: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in TIMED} for line in read_jsonl(workdir / "metrics.jsonl")]


class Course:
    """An experiment run again and again to the same number of steps: whole, or in parts.

    Its step is compiled once: a program with a callback in it is not kept in JAX's cache of compiled programs, and to compile
    is most of the time of a short run.
    """

    def __init__(self, experiment: jaxgen.Experiment, folder: Path, **options: Any) -> None:
        self.experiment, self.folder, self.options = watched(experiment), folder, {"log_every": 5} | options
        self._program: Any = None
        self.run("whole")
        self.whole, self.lines = load.digest(folder / "whole"), lines(folder / "whole")
        self.log = self.consumed()

    def consumed(self) -> Any:
        assert isinstance(self.experiment.train, Consumed)
        return self.experiment.train.take()

    def run(self, name: str, experiment: jaxgen.Experiment | None = None) -> None:
        compile = parallel.Jit.compile

        def once(way: parallel.Jit, *args: Any) -> Any:
            self._program = self._program or compile(way, *args)
            return self._program

        with mock.patch.object(parallel.Jit, "compile", once):
            fit(experiment or self.experiment, self.folder / name, **self.options)

    def stopped_by_steps(self, k: int) -> None:
        """A run of k steps, then one of N."""
        name, every = f"{k} steps", self.options["log_every"]
        self.run(name, self.experiment._replace(steps=k))
        self.run(name)
        # The first part's end is reported on, and the window of metrics that was under way is cut there.
        cut = -(-k // every) * every if k % every else 0
        kept = [line for line in self.lines if line["split"] != "train" or line["step"] != cut]
        own = [line for line in lines(self.folder / name) if line["split"] != "train" or line["step"] not in (k, cut)]
        assert [line for line in own if line["step"] != k] == [line for line in kept if line["step"] != k]
        self.equals(name)

    def stopped_by_signals(self, *steps: int) -> None:
        """A run that is asked to stop before it takes a step, again and again: it ends with that step, or with its call."""
        name, feed = f"signals at {steps}", program.feed
        for k in steps:

            def signalled(stream: Any, calls: Any, k: int = k, **how: Any) -> Iterator[Any]:
                for (first, n), batches in zip(calls, feed(stream, calls, **how), strict=True):
                    if first < k <= first + n:
                        signal.raise_signal(signal.SIGINT)
                    yield batches

            with mock.patch.object(program, "feed", signalled), pytest.raises(KeyboardInterrupt):
                self.run(name)
        self.run(name)
        assert lines(self.folder / name) == self.lines, f"{name}: the metrics differ"
        self.equals(name)

    def equals(self, name: str) -> None:
        assert list(self.consumed().items()) == list(self.log.items()), f"{name}: other examples were consumed"
        assert load.digest(self.folder / name) == self.whole, f"{name}: the state diverged"


GAMES = {
    "streamed": (regression, {"streamed": True}),
    "ema+accumulate+cosine": (regression, {"ema": 0.9, "accumulate": 3, "cosine": True}),
    "adversarial": (adversarial, {"every": 5}),
    "adversarial+ema+accumulate": (adversarial, {"ema": 0.5, "accumulate": 2}),
}
MORE = {
    "plain": (regression, {}),
    "ema": (regression, {"ema": 0.9}),
    "accumulate": (regression, {"accumulate": 3}),
    "cosine": (regression, {"cosine": True}),
}
"""All have 50 examples in batches of 6 or 4, so that batches span two epochs; `regression` has batch statistics."""


RESUMED = [(4, game) for game in GAMES] + [(1, "adversarial")]
OTHERS = [pytest.param(1, game, marks=pytest.mark.slow) for game in GAMES if game != "adversarial"]


@pytest.mark.parametrize(("per_call", "game"), [*RESUMED, *OTHERS])
def test_a_resumed_run_is_the_unbroken_run(tmp_path: Path, per_call: int, game: str) -> None:
    function, flags = GAMES[game]
    course = Course(function(**flags, steps=12), tmp_path, steps_per_call=per_call)
    course.stopped_by_signals(3, 8)
    if per_call == 4:
        course.stopped_by_steps(7)


@pytest.mark.slow
@pytest.mark.parametrize("game", [*GAMES, *MORE])
@pytest.mark.parametrize("per_call", [1, 4])
def test_every_stop_of_every_game(tmp_path: Path, game: str, per_call: int) -> None:
    function, flags = (GAMES | MORE)[game]
    course = Course(function(**flags, steps=20), tmp_path, steps_per_call=per_call)
    for k in range(1, 20):
        course.stopped_by_steps(k)
        if per_call == 1:
            course.stopped_by_signals(k)
    # A call that reaches the end is finished, whatever it is told.
    course.stopped_by_signals(*range(1, 21 - per_call, per_call))


def test_a_step_that_was_passed_over_is_so_once(tmp_path: Path) -> None:
    # Step 6 is not finite. The first part ends behind it, with the count of it in a window that is still open.
    course = Course(regression(steps=12, poison=6, ema=0.9), tmp_path, steps_per_call=4, skip_not_finite=1)
    assert [line["skipped"] for line in course.lines if line["split"] == "train"] == [0, 1, 1]
    course.stopped_by_signals(8)
    course.stopped_by_steps(8)


def test_what_is_consumed_is_every_example_once_an_epoch(tmp_path: Path) -> None:
    # 50 examples in batches of 6: the ninth and the seventeenth batch have examples of two epochs.
    course = Course(regression(steps=20), tmp_path, steps_per_call=4)
    drawn = [i for step in ids(course.log) for i in step]
    assert len(drawn) == 120
    for epoch in (drawn[:50], drawn[50:100]):
        assert sorted(epoch) == list(range(50))
    assert drawn[:50] != drawn[50:100]
    assert ids(course.log) == [course.experiment.train.read(step, seed=0)["index"][0].tolist() for step in range(20)]


def test_the_streams_of_a_pair_are_logged_each(tmp_path: Path) -> None:
    course = Course(adversarial(steps=5), tmp_path)
    a, b = ids(course.log, "a"), ids(course.log, "b")
    assert len(a) == len(b) == 5
    assert a != b


def test_a_resumed_run_may_compile_its_step_anew(tmp_path: Path) -> None:
    # Neither from this process' programs nor from the cache on disk, which does not keep those with a callback.
    runs_of = {"whole": [12], "part": [7, 12]}
    logs: dict[str, Any] = {}
    for name, steps in runs_of.items():
        for n in steps:
            jax.clear_caches()
            experiment = watched(regression(steps=n, ema=0.9))
            fit(experiment, tmp_path / name)
            logs[name] = logs.get(name, {}) | experiment.train.take()
    assert logs["part"] == logs["whole"]
    assert load.digest(tmp_path / "part") == load.digest(tmp_path / "whole")


@pytest.mark.parametrize(("per_call", "step"), [(1, 2), (4, 7)])
def test_a_signal_within_a_step(tmp_path: Path, per_call: int, step: int) -> None:
    """It comes from within the compiled step, in its second micro-batch of three: the step is finished, and taken once."""
    experiment = regression(steps=20, accumulate=3, ema=0.9)
    player, micro = experiment.players["model"], []

    def note(at: Any) -> None:
        micro.append(int(at))
        if armed and micro.count(step) == 2:
            armed.clear()
            _thread.interrupt_main()

    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        if train:
            io_callback(note, None, state.step)
        return player.loss(params, state, batch, key, train=train)

    armed: list[bool] = []
    course = Course(experiment._replace(players={"model": player._replace(loss=loss)}), tmp_path, steps_per_call=per_call)
    micro.clear()
    armed.append(True)
    with pytest.raises(KeyboardInterrupt):
        course.run("part")
    stopped = jaxgen.load(tmp_path / "part", experiment=regression).position
    assert step < stopped < 20
    course.run("part")
    assert sorted(micro) == sorted([*range(20)] * 3)
    assert lines(tmp_path / "part") == course.lines
    course.equals("part")


@pytest.mark.parametrize("step", [10, 20])
def test_a_signal_within_an_evaluation(tmp_path: Path, step: int) -> None:
    """What was cut short is made up for, and reports what it would have reported."""
    experiment = regression(steps=20, ema=0.9)
    evaluator, armed = experiment.evaluators["test"], []

    def interrupted(state: Any, key: Any, track: Any) -> Any:
        def cut(batches: Any, **how: Any) -> Iterator[Any]:
            for i, batch in enumerate(track(batches, **how)):
                if i == 1 and armed == [int(state.step)]:
                    armed.clear()
                    signal.raise_signal(signal.SIGINT)
                yield batch

        return evaluator(state, key, cut)

    course = Course(experiment._replace(evaluators={"test": interrupted}), tmp_path)
    armed.append(step)
    with pytest.raises(KeyboardInterrupt):
        course.run("part")
    assert [line["step"] for line in lines(tmp_path / "part") if line["split"] == "test"] == [10][: step // 10 - 1]
    course.run("part")
    assert lines(tmp_path / "part") == course.lines
    course.equals("part")


def tiny(name: str, **flags: Any) -> jaxgen.Experiment:
    return contract.make(name, **flags, steps=7)


def bare(experiment: jaxgen.Experiment) -> jaxgen.Experiment:
    return experiment._replace(evaluators={}, final={}, pictures={})


INTERVALS = {"log_every": 3, "evaluate_every": 4, "save_every": 5, "steps_per_call": 2}
"""Each kind of boundary in seven steps, and steps that are none; calls of one step and of two."""


def test_a_set_is_streamed_then_cached_then_streamed(tmp_path: Path) -> None:
    cached, streamed = (tiny("vae", cache_budget=budget, hidden=(16,)) for budget in (4.0, 0.0))
    assert cached.train.source.gather.__code__ is not streamed.train.source.gather.__code__
    course = Course(bare(cached), tmp_path, **INTERVALS)
    # The program, and with it the log, stays the first one's: only where the examples are read from changes.
    for experiment, steps in ((streamed, 2), (cached, 5), (streamed, 7)):
        course.run("part", bare(experiment)._replace(steps=steps))
    course.equals("part")


def test_signals_stop_a_game_of_the_repository(tmp_path: Path) -> None:
    course = Course(bare(tiny("gan", hidden=(8,), units=(8,))), tmp_path, **INTERVALS)
    course.stopped_by_signals(2, 5)


EVERY: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in NAMES],
    ("vae", {"ema": 0.9, "accumulate": 2, "clip": 1.0, "cosine": True, "beta_warmup": 4, "cache_budget": 0.0}),
    ("vae", {"max_kl": 5.0, "binarization": "dynamic"}),
    ("vae", {"network": "conv", "bf16": True, "remat": True}),
    ("dcgan", {"ema": 0.9, "accumulate": 2}),
    ("dcgan", {"norm": "spectral", "gamma": 0.1, "gamma_every": 3}),
    ("wgan", {"penalty": "clip"}),
    ("ddpm", {"flip": True, "labels": True, "accumulate": 2, "channels": (4,)}),
    ("clip", {"ema": 0.9, "flip": True, "cosine": True}),
    ("modes", {"method": "gan"}),
    ("modes", {"method": "veegan"}),
    ("modes", {"method": "ddpm"}),
]
"""Every experiment, and the variants with more in their state, or more that is drawn."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flags"), EVERY, ids=lambda x: x if isinstance(x, str) else contract.titled(x))
def test_every_stop_of_every_experiment(tmp_path: Path, name: str, flags: dict[str, Any]) -> None:
    course = Course(tiny(name, **flags)._replace(final={}, pictures={}), tmp_path, **INTERVALS)
    for k in range(1, 7):
        course.stopped_by_steps(k)
    course.stopped_by_signals(*range(2, 7))  # calls of two steps end at step 2, of one step at each beyond
