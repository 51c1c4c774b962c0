"""Reports of a training between two steps: evaluations, pictures, and a summary at the end."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxgen import disk, pictures, progress
from jaxgen.alarms import rung
from jaxgen.devices import hosts, memory
from jaxgen.errors import NotFiniteError, described
from jaxgen.evaluate import Evaluator
from jaxgen.experiment import Experiment
from jaxgen.game import TrainState
from jaxgen.progress import Bar, Track
from jaxgen.runs import journal, workdir
from jaxgen.runs.run import draw, evaluate
from jaxgen.training.signals import Stopped, StopRequest
from jaxgen.uncertainty import paired, told


class Reports:
    """Reports on the states of a run, to its journal and its folder."""

    def __init__(
        self, experiment: Experiment, seed: int, journal: journal.Journal, folder: workdir.Workdir | None, *, quiet: bool
    ) -> None:
        self._experiment, self._seed, self._journal, self._folder, self._quiet = experiment, seed, journal, folder, quiet
        self._compiled: set[Any] = set()  # what was called before, and need not be compiled

    def evaluate(self, evaluators: Mapping[str, Evaluator], state: TrainState, step: int, bar: Bar, stop: StopRequest) -> None:
        """Runs the evaluators, reports their values and what fell; one that fails gives a message, and the run goes on."""
        for split, evaluator in evaluators.items():
            values: Mapping[str, Mapping[str, float]] = {}
            with (
                self._beside(bar, f"evaluating {split}", evaluator),
                self._goes_on(f"The evaluation of {split}", "its values are missing there", step),
            ):
                values = evaluate({split: evaluator}, state, self._seed, _compiled_first(stop.track(self._quiet), bar, split))
            self._report(values, step)

    def draw(self, state: TrainState, step: int, bar: Bar, *, only_missing: bool = False) -> None:
        """Draws the pictures into the folder; one that fails gives a message, and the run goes on.

        Args:
          state: the state whose pictures are drawn.
          step: the step of the state.
          bar: the progress bar, which says what is done meanwhile.
          only_missing: whether only the pictures that are not there yet are drawn.
        """
        assert self._folder is not None
        for name, picture in self._experiment.pictures.items():
            path = self._folder.samples / f"{name}_{step:08d}.png"
            if only_missing and path.exists():
                continue
            png = None
            with (
                self._beside(bar, f"drawing {name}", picture),
                self._goes_on(f"The picture {name}", "it is missing there", step),
            ):
                png = pictures.encode(draw({name: picture}, state, self._seed)[name])
            if png is not None and hosts.is_main_host():
                with bar.beside(f"drawing {name}"), disk.explained(f"Writing {path}", disk.GO_ON):
                    pictures.write(png, path)
                self._journal.picture(step, name, path)

    def unreported(self, evaluators: Mapping[str, Evaluator], step: int) -> bool:
        """Whether evaluators are still to report on a step: a signal may have cut them short before a resume."""
        reports = [line["split"] for line in self._journal.history if line["step"] == step]
        earlier = self._experiment.evaluators if evaluators is self._experiment.final else {}
        return step > 0 and any(reports.count(split) < 1 + (split in earlier) for split in evaluators)

    def summary(self, first: int, step: int, seconds: float) -> None:
        """Says what was trained, what it is worth, where it lies, and what to do with it.

        Args:
          first: the step that this command began with.
          step: the last one.
          seconds: the time that it took.
        """
        if self._folder is None:
            return
        path, done = self._folder.path, step - first
        if done:
            self._say(f"Trained {done:,} steps in {seconds:.0f} s, to step {step:,}.")
        else:
            self._say(f"The run in {path} is at step {step:,}, as asked: nothing to do.")
        for line in self._journal.history:
            if line["step"] == step and line["split"] != "train":
                values = {name: value for name, value in line.items() if name not in ("step", "split")}
                self._say(*(f"  {line['split'] + ' ' + name:24} {told(*pair)}" for name, pair in paired(values).items()))
        look = "sample  " if self._experiment.sample else "evaluate"
        self._say(
            f"  metrics      {path / 'metrics.jsonl'}",
            f"  pictures     {path / 'samples'}",
            f"  checkpoints  {path / 'checkpoints'}",
            f"  go on        the same command with --steps {2 * self._experiment.steps or 1000}",
            f"  {look}     jaxgen {look.strip()} {self._folder.arguments}",
        )

    def _beside(self, bar: Bar, what: str, function: Any) -> contextlib.AbstractContextManager[None]:
        """Says what is done; the first call of a function compiles what is in it."""
        first = id(function) not in self._compiled
        self._compiled.add(id(function))
        return bar.beside(f"compiling, then {what}" if first else what)

    @contextlib.contextmanager
    def _goes_on(self, what: str, missing: str, step: int) -> Iterator[None]:
        """Reports a failed evaluation or picture in a sentence, also where the run is quiet, and lets the run go on."""
        try:
            yield
        except (Stopped, NotFiniteError):
            raise
        except Exception as error:
            if memory.exhausted(error):
                config = self._experiment.config
                why = f"it takes more memory than there is; give {memory.advice(config.flags if config else None)}"
            else:
                why = described(error)
            if hosts.is_main_host():
                progress.say(f"{what} at step {step:,} failed ({why}): {missing}, and the run goes on.")

    def _report(self, results: Mapping[str, Mapping[str, float]], step: int) -> None:
        for split, values in results.items():
            # A run that was killed between two lines of a step has the first of them already.
            if {"step": step, "split": split, **values} not in self._journal.history:
                self._journal.scalars(step, split, values)
                self._ring(step, split, values)

    def _ring(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Says which of the values fell, also where the run is quiet; a line that was there before a resume rang then."""
        for alarm in self._experiment.alarms:
            if alarm.value.removeprefix(f"{split}/") in values:
                sentence = rung(alarm, self._journal.history, step)
                if sentence is not None:
                    self._journal.alarm(step, sentence)
                    if hosts.is_main_host():
                        progress.say(sentence)

    def _say(self, *lines: str) -> None:
        if not self._quiet:
            for line in lines:
                progress.say(line)


def _compiled_first(track: Track, bar: Bar, split: str) -> Track:
    """The track, after whose first item the bar no longer speaks of compiling: what is to be compiled was needed for that."""

    def tracked(iterable: Iterable[Any], *, description: str, total: int | None = None) -> Iterator[Any]:
        for i, item in enumerate(track(iterable, description=description, total=total)):
            if i == 1:
                bar.says(f"evaluating {split}")
            yield item

    return tracked
