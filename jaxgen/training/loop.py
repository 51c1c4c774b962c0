"""The training loop, one for all games: step, log, evaluate, save, then draw pictures."""

import contextlib
import functools
import math
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import jax
import jax.numpy as jnp

from jaxgen import progress
from jaxgen.best import best_step
from jaxgen.devices import hosts, memory, parallel
from jaxgen.devices.waiting import wait
from jaxgen.errors import NotFiniteError, UserError
from jaxgen.experiment import Experiment
from jaxgen.flags import Count, Place, Seed, Whole, checked, place
from jaxgen.game import TrainState, with_averaged_variables
from jaxgen.progress import Bar
from jaxgen.reduction import Metrics, compute
from jaxgen.runs import journal, workdir
from jaxgen.runs.checkpoint import Checkpoints
from jaxgen.runs.run import Run, begin
from jaxgen.runs.serialization import from_tree, to_tree
from jaxgen.training import not_finite, program
from jaxgen.training.reports import Reports
from jaxgen.training.signals import Stopped, StopRequest


@checked
def fit(
    experiment: Experiment,
    *,
    workdir: Place | str | None = None,
    seed: Seed = 0,
    log_every: Count = 100,
    evaluate_every: Count = 1000,
    save_every: Count = 1000,
    keep: Count = 2,
    keep_every: Count | None = None,
    steps_per_call: Count | None = None,
    parallel: Literal["auto", "jit", "pmap"] = "auto",
    fsdp: int = 1,
    skip_not_finite: Whole = 0,
    wandb: str | None = None,
    quiet: bool = False,
) -> Run:
    """Trains an experiment, or goes on where the run in `workdir` stopped.

    Args:
      experiment: the experiment to train.
      workdir: folder of checkpoints, metrics and pictures; the same command on the same folder goes on with the run there. The
        command line names a folder by the flags that are not at their defaults; in Python, None keeps everything in memory.
      seed: the seed of the initial parameters, the order of the data and all noise.
      log_every: steps between lines of training metrics, which are means over these steps.
      evaluate_every: steps between evaluations, each with its pictures and a checkpoint; the last step always has one.
      save_every: steps between further checkpoints.
      keep: the number of last checkpoints to keep, in addition to the best if the experiment has a value that marks it.
      keep_every: steps between checkpoints that are kept for good, in addition to these: for figures over the course of a
        training, or averages that are made afterwards. Each takes the disk space of a whole state. None keeps no further ones.
      steps_per_call: steps in one compiled call; None takes as many as 8 MiB of batches hold, up to 20.
      parallel: the way to run: jit over all devices, or pmap over them; auto is jit, on one device where there is only a CPU.
      fsdp: the number of devices that parameters and optimizers are cut over as well; the batch is cut over all devices.
      skip_not_finite: the number of steps that are not finite to pass over, parameters and optimizers untouched, before the run
        stops; 0 stops at the first.
      wandb: a Weights & Biases project to report to as well.
      quiet: whether to show no progress bars and no summary.

    Returns:
      The run, to sample from, to evaluate and to hash. Without a workdir, Ctrl-C ends the training early and returns it too.

    Raises:
      UserError: if the flags contradict the run in `workdir`, or cannot work.
      NotFiniteError: if a loss, a gradient, a parameter or another part of the state is not finite; the last checkpoint is from
        before, and what the step began with is kept for `jaxgen replay`.
      KeyboardInterrupt: after Ctrl-C, when the state is saved.
      SystemExit: 143 after SIGTERM and 129 after SIGHUP, when the state is saved.
    """
    for flag, value, least in (("steps", experiment.steps, 0), ("accumulate", experiment.accumulate, 1)):
        if value < least:
            raise UserError(f"--{flag} is {value}; give {least} or more.")
    if jax.config.values["jax_disable_jit"]:
        raise UserError(
            "JAX_DISABLE_JIT is set, and a training step is one compiled program; unset it. Without `fit`, losses and samplers "
            "can be called under it."
        )
    flags = experiment.config.flags if experiment.config else None
    with contextlib.ExitStack() as resources, memory.explained("Training", flags):
        return _Loop(
            experiment,
            None if workdir is None else place(workdir),
            seed,
            keep,
            keep_every,
            parallel,
            fsdp,
            skip_not_finite,
            steps_per_call,
            wandb,
            quiet,
            resources,
        ).run(log_every, evaluate_every, save_every, keep_every or save_every)


class _Loop:
    """The run under way: its state, the window of metrics since the last log, and where both go."""

    def __init__(
        self,
        experiment: Experiment,
        path: Path | None,
        seed: int,
        keep: int,
        keep_every: int | None,
        kind: Literal["auto", "jit", "pmap"],
        fsdp: int,
        skippable: int,
        steps_per_call: int | None,
        wandb: str | None,
        quiet: bool,
        resources: contextlib.ExitStack,
    ) -> None:
        self.experiment, self.seed, self.quiet = experiment, seed, quiet or not hosts.is_main_host()
        if wandb is not None:
            journal.import_wandb()  # before a folder is made: it may be absent
        self.parallel = parallel.choose(kind, fsdp=fsdp)
        self.journal = journal.Journal()
        self.folder: workdir.Workdir | None = None
        self.checkpoints: Checkpoints | None = None
        self.kept: tuple[int, Any] = 0, None  # without a workdir: the last finite state, on the host
        self.step = self.saved = self.logged = self.skipped = 0
        self.skippable = skippable
        self.compiled = False
        self.token: Any = None  # ready when the last call is through
        self.seconds, self.timed = 0.0, 0  # of the steps since the last log, without evaluations and saves

        state = jax.eval_shape(lambda: begin(experiment, seed))
        memory.check(state, experiment.config.flags if experiment.config else None, parts=fsdp)
        self.program = program.compiled(
            experiment, state, self.parallel, skip_not_finite=skippable > 0, steps_per_call=steps_per_call
        )
        self.pace = program.Pace(self.program.chunk)
        self._number = functools.cache(self.parallel.number)

        if path is not None:
            resources.callback(workdir.lock(path).release)
            self.folder, notes = workdir.matching_run(path, experiment, seed)
            hosts.barrier("every host has read what is in the workdir")
            best = lambda steps: best_step(experiment.best, self.journal.history, steps)  # noqa: E731
            self.checkpoints = self.folder.checkpoints(keep=keep, keep_every=keep_every, best=best, frozen=experiment.frozen)
            resources.callback(self.checkpoints.close)
            self._say(*notes)
        if not self._restored():
            self.state, self.window = self.parallel.place(begin(experiment, seed)), self._empty_window()
        else:
            if self.step > experiment.steps:
                raise UserError(
                    f"The run in {path} is at step {self.step:,} already, so --steps {experiment.steps:,} would go back; "
                    "give more steps, or another --workdir."
                )
            self._say(f"Resuming {path} at step {self.step:,} of {experiment.steps:,}.")
        if self.folder is not None:
            self.folder.keep(experiment.frozen)  # before the record, which names them
            self.folder.write()
            self.journal = self.folder.journal(start=self.step, wandb=wandb)
        resources.callback(self.journal.close)
        self.reports = Reports(experiment, seed, self.journal, self.folder, quiet=self.quiet)

    def run(self, log_every: int, evaluate_every: int, save_every: int, keep_every: int) -> Run:
        """Takes the steps that are left, and reports, saves and draws where these are due."""
        intervals = log_every, evaluate_every, save_every, keep_every
        calls = list(program.plan(self.step, self.experiment.steps, self.program.chunk, intervals))
        feed = self._feed(calls)
        began, started = self.step, time.perf_counter()
        with StopRequest() as stop, Bar(total=self.experiment.steps, initial=self.step, quiet=self.quiet) as bar:
            try:
                if self.step == self.experiment.steps == 0 and not (self.checkpoints and self.checkpoints.steps()):
                    self._save()  # what `init` made, such as weights from a file, to be sampled from
                if self.step == self.experiment.steps or self.step % evaluate_every == 0:
                    # A signal, or the end of its process, may have cut these short before a resume.
                    if self.reports.unreported(self.experiment.evaluators, self.step):
                        self.reports.evaluate(self.experiment.evaluators, self._view(), self.step, bar, stop)
                    self._draw(bar, only_missing=True)
                mark = bar.clock()
                for (first, length), (batches, _) in zip(calls, feed, strict=True):
                    self._advance(batches, first, length, bar, stop)
                    last = self.step == self.experiment.steps
                    log, look, *saves = (last or self.step % every == 0 for every in intervals)
                    save = any(saves)
                    if not (log or look or save or stop.urgent):
                        continue
                    wait(self.token, whole=True)
                    self.seconds += bar.clock() - mark
                    if log:
                        bar.set_postfix(self._log(), refresh=False)
                    if look:
                        self._metrics()
                        self.reports.evaluate(self.experiment.evaluators, self._view(), self.step, bar, stop)
                    if look or save:
                        with bar.beside("saving"):
                            self._save()
                    if look:
                        self._draw(bar)
                    stop.check()
                    mark = bar.clock()
                if self.reports.unreported(self.experiment.final, self.step):
                    self.reports.evaluate(self.experiment.final, self._view(), self.step, bar, stop)
            except Stopped:
                return self._leave(stop)
        if self.checkpoints is not None:
            self.checkpoints.wait()
        self.reports.summary(began, self.step, time.perf_counter() - started)
        return self._result()

    def _advance(self, batches: Any, first: int, length: int, bar: Bar, stop: StopRequest) -> None:
        """Takes the steps of a chunk of batches, in as many calls as keep each of them short; a signal ends it between two."""
        while self.step < first + length:
            n, started = min(self.pace.steps, first + length - self.step), bar.clock()
            numbers = self._number(n), self._number(self.step - first)
            # JAX compiles within the first call, and returns from it when the device has begun.
            compiling = contextlib.nullcontext() if self.compiled else bar.beside("compiling")
            with compiling, jax.transfer_guard("disallow"):
                self.state, self.window, token = self.program.advance(self.state, self.window, batches, *numbers)
            self.compiled = True
            # One call runs while the next is prepared; more would pile up batches on the device.
            wait(self.token, whole=True)
            self.token, self.step, self.timed = token, self.step + n, self.timed + n
            bar.update(n)
            self.pace.took(bar.clock() - started)
            if stop.urgent:
                break

    def _leave(self, stop: StopRequest) -> Run:
        """Saves what a signal interrupted, and ends as the signal asks."""
        if self.checkpoints is None:
            self._say(f"Stopped at step {self.step:,}; without a workdir nothing is saved.")
        else:
            if self.saved != self.step:
                self._save()
            self.checkpoints.wait()
            self._say(f"Stopped at step {self.step:,}, which is saved; the same command goes on from there.")
        if self.checkpoints is None and stop.signum == signal.SIGINT:
            return self._result()
        stop.leave()

    def _log(self) -> dict[str, str]:
        values = self._metrics()
        self.window, self.logged, self.skipped = self._empty_window(), self.step, int(values.get("skipped", 0))
        for name, schedule in self.experiment.schedules.items():
            values[name] = float(schedule(self.step - 1))
        values["epoch"] = self.step / self.experiment.train.epoch_steps
        shown = {name: f"{value:.4g}" for name, value in values.items() if name.endswith("loss")}
        values["examples_per_second"] = self.timed * self.experiment.train.batch_size / self.seconds
        self.timed, self.seconds = 0, 0.0
        self.journal.scalars(self.step, "train", values)
        return shown

    def _metrics(self) -> dict[str, float]:
        """The means of the window under way, all of them finite."""
        window = self.parallel.to_view(self.window)
        values = compute(window)
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            self._stop(", ".join(bad))
        if self.skippable:
            values["skipped"] = self.skipped + float(window["skipped"].total)
            if values["skipped"] > self.skippable:
                self._stop(f"{values['skipped']:.0f} steps, which is more than --skip-not-finite {self.skippable}")
        return values

    def _stop(self, what: str) -> NoReturn:
        """Looks for the step that was not finite, keeps what it began with, and ends the run."""
        self._say("A value is not finite: repeating the steps since the last checkpoint, to find the first.")
        first, state = self._last_finite()
        calls = [(step, 1) for step in range(first, self.step)]
        before = not_finite.search(self.program.advance, state, self._empty_window, self._feed(calls))
        if before is None:
            raise NotFiniteError(
                f"Not finite between steps {self.logged + 1:,} and {self.step:,}: {what}; but finite when repeated, so the "
                "device is not to be trusted. The checkpoints are from before: give the same command again."
            )
        raise NotFiniteError(not_finite.keep(self.experiment, self.parallel.to_view(before), self.seed, what, self.folder))

    def _last_finite(self) -> tuple[int, TrainState]:
        """The state that was last saved, or the first one."""
        step, tree = self.kept
        if self.checkpoints is not None and self.checkpoints.steps():
            self.checkpoints.wait()
            step = self.checkpoints.steps()[-1]
            state, _, _ = self.checkpoints.restore(step, self.parallel.spec(self.program.state), None)
            state = with_averaged_variables(state)
        else:
            state = begin(self.experiment, self.seed) if tree is None else from_tree(self.program.state, tree)
        return step, self.parallel.place(state)

    def _draw(self, bar: Bar, *, only_missing: bool = False) -> None:
        """Draws the pictures of this step, of a state that is on the disk already: no picture is worth a step."""
        if self.folder is None or self.step == 0 < self.experiment.steps:
            return
        if self.checkpoints is not None:
            with bar.beside("saving"):
                self.checkpoints.wait()
        self.reports.draw(self._view(), self.step, bar, only_missing=only_missing)

    def _save(self) -> None:
        self._metrics()
        state, window = self.parallel.to_disk(self.state), self.parallel.to_disk(self.window)
        if hosts.max_over_hosts(int(not_finite.first_bad(state) is not None)):
            self._stop("the state")
        if self.checkpoints is None or self.folder is None:
            self.kept = self.step, jax.device_get(to_tree(self.parallel.to_view(self.state)))
            return
        # The lines first: a checkpoint without its lines would leave a gap for ever.
        self.journal.sync()
        meta = {"position": self.step, "logged": self.logged, "skipped": self.skipped, "run": self.folder.record}
        self.checkpoints.save(state, window, step=self.step, meta=meta)
        self.saved = self.step

    def _restored(self) -> bool:
        """Takes up the last checkpoint that is whole, if there is any."""
        if self.checkpoints is None or self.folder is None:
            return False
        specs = self.parallel.spec(self.program.state), self.parallel.spec(self.program.window)
        restored = self.checkpoints.restore_last(*specs, aside=self.folder.damaged, say=self._say)
        if restored is None:
            return False
        state, window, meta = restored
        self.state, self.window = self.parallel.place(with_averaged_variables(state)), self.parallel.place(window)
        self.step = self.saved = int(meta["position"])
        self.logged, self.skipped = int(meta["logged"]), int(meta["skipped"])
        return True

    def _feed(self, calls: Sequence[tuple[int, int]]) -> Iterator[tuple[Any, Any]]:
        return program.feed(self.experiment.train, calls, seed=self.seed, chunk=self.program.chunk, way=self.parallel)

    def _empty_window(self) -> Metrics:
        return self.parallel.place(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self.program.window))

    def _view(self) -> TrainState:
        return self.parallel.to_view(self.state)

    def _result(self) -> Run:
        path = self.folder.path if self.folder is not None else None
        return Run(self.experiment, self._view(), self.seed, self.step, path, self.journal.history)

    def _say(self, *lines: str) -> None:
        if not self.quiet:
            for line in lines:
                progress.say(line)
