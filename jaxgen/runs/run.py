"""A run: an experiment with a state, to sample from, to evaluate, to draw and to hash."""

import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import numpy as np

from jaxgen import data, hashes, keys, progress, values
from jaxgen.devices import memory
from jaxgen.errors import UserError
from jaxgen.evaluate import Evaluator
from jaxgen.experiment import Experiment, of_split
from jaxgen.flags import Count, Seed, checked, flag_name
from jaxgen.game import TrainState, averaged, create_state, with_average
from jaxgen.measuring import figures
from jaxgen.measuring.features import Extractor
from jaxgen.measuring.protocol import Measurement
from jaxgen.network import FrozenNetwork, Network
from jaxgen.pictures import Album, Picture
from jaxgen.progress import Track
from jaxgen.runs import parts, serialization
from jaxgen.runs.serialization import to_tree
from jaxgen.samples import draws
from jaxgen.samples.conditions import Conditions
from jaxgen.types import PyTree

Given: TypeAlias = data.Source | Mapping[str, Any]

SAMPLES = 64
"""Samples that a device draws at once; the i-th chunk is drawn with the i-th key."""


@dataclass(frozen=True)
class Run:
    """A trained run, which `fit` and `load` return.

    Attributes:
      experiment: the experiment that was trained.
      state: the training state.
      seed: the run's seed.
      position: batches drawn from the stream.
      workdir: the run's folder, or None.
      history: the reported lines, as in `metrics.jsonl`.
      ema: the place of the average that is sampled from and evaluated, among several decays (`Experiment.ema`).
      sigma_rel: the relative width of the average that is sampled from and evaluated, where it was made of several.
    """

    experiment: Experiment
    state: TrainState
    seed: int
    position: int
    workdir: Path | None = None
    history: list[dict[str, Any]] = field(default_factory=list, repr=False)
    ema: int = 0
    sigma_rel: float | None = None

    def __repr__(self) -> str:
        """Three lines: what was trained, how far and where, and what was last measured."""
        return "\n".join(self._told())

    def _repr_html_(self) -> str:
        """The text that a notebook shows: the same three lines, and the last values of each split as a table."""
        first, *rest = map(html.escape, self._told())
        rows = [[split, name, f"{value:.4g}"] for split, values in self.last().items() for name, value in values.items()]
        table = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in rows)
        return f"<b>{first}</b><br>{rest[0]}<br><table>{table}</table>Its pictures: <code>run.pictures()</code>"

    def _told(self) -> list[str]:
        config = self.experiment.config
        sizes = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in self.state.params.items()}
        changed = config.changed() if config else {}
        flags = "".join(f" {flag_name(flag)} {values.shown(value)}" for flag, value in changed.items())
        place = f"in {self.workdir}" if self.workdir else "in memory"
        last = [f"{split} {name} {value:.4g}" for split, of in self.last().items() for name, value in of.items()]
        return [
            f"Run of {config.name if config else 'an experiment'}{flags}",
            f"  step {self.position:,} of {self.experiment.steps:,}, seed {self.seed}, {place}; "
            f"parameters: {', '.join(f'{name} {size:,}' for name, size in sizes.items())}",
            f"  {', '.join(last[:8]) or 'nothing measured yet'}{', ...' if len(last) > 8 else ''}",
        ]

    def last(self) -> dict[str, dict[str, float]]:
        """The last reported values of each split, those of training at the end."""
        last: dict[str, dict[str, float]] = {}
        for line in self.history:
            last.setdefault(line["split"], {}).update({n: v for n, v in line.items() if n not in ("step", "split")})
        return dict(sorted(last.items(), key=lambda of: of[0] == "train"))  # what is evaluated comes first

    @checked
    def sample(
        self, n: Count | None = None, *, given: Given | None = None, seed: Seed | None = None, track: Track = progress.track
    ) -> np.ndarray:
        """Draws from the model, with the parameter averages where there are any.

        Args:
          n: the number of samples; by default as many as are given, or 64. The first samples of a larger number are those of a
            smaller one.
          given: the conditions of the samples: a source, or values by feature, such as `{"label": [3, "cat"]}`, `{"caption":
            ["a red three"]}` or `{"image": array [n, H, W, C]}`. If n is larger, they are gone through again. None takes those
            that the experiment names, such as each class in turn.
          seed: the seed of the draw; None means the run's.
          track: a function that shows the progress.

        Returns:
          Images `[n, H, W, C]` in [0, 1], or points `[n, D]`.

        Raises:
          UserError: if the model generates nothing, an argument is out of range, what is given does not suit the model, or
            memory cannot hold the samples.
        """
        found: np.ndarray | None = None
        at, conditions = 0, self._conditions(given)
        n = n or (64 if given is None or conditions is None else conditions.examples.length)
        for chunk in self._chunks(n, conditions, seed, track):
            if found is None:
                need, free = n * chunk[0].nbytes, memory.host()
                if free is not None and need > free:
                    raise UserError(
                        f"{n:,} samples take {need / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are free; "
                        "draw fewer, or into a file: `jaxgen sample RUN --out samples.npy`."
                    )
                found = np.empty((n, *chunk.shape[1:]), chunk.dtype)
            found[at : at + len(chunk)] = chunk
            at += len(chunk)
        assert found is not None, "n is 1 or more"
        return found

    @checked
    def samples(
        self, n: Count = 64, *, given: Given | None = None, seed: Seed | None = None, track: Track = progress.track
    ) -> Iterator[np.ndarray]:
        """The samples of `sample` in parts, for what memory does not hold at once.

        Args:
          n: the number of samples, altogether.
          given: the conditions of the samples, as in `sample`.
          seed: the seed of the draw, as in `sample`.
          track: a function that shows the progress.

        Returns:
          An iterator over arrays `[m, ...]`, in order.

        Raises:
          UserError: as in `sample`.
        """
        return self._chunks(n, self._conditions(given), seed, track)

    def _conditions(self, given: Given | None) -> Conditions | None:
        own = self.experiment.given
        if given is None or self.experiment.sample is None:
            return own
        if own is None:
            raise UserError("Samples of this model are made from nothing but noise; leave out what is given.")
        return own.given(given)

    def _chunks(self, n: int, conditions: Conditions | None, seed: int | None, track: Track) -> Iterator[np.ndarray]:
        if self.experiment.sample is None:
            raise UserError("This experiment has no sampler: its model generates nothing.")
        parts = draws.chunks(
            self.experiment.sample,
            averaged(self.state, self.ema),
            self._key(keys.SAMPLE, seed),
            n,
            size=SAMPLES,
            name=self._name(),
            conditions=conditions,
            track=track,
        )
        return _explained(parts, self.experiment)

    @checked
    def evaluate(
        self, *, split: str | None = None, final: bool = True, seed: Seed | None = None, track: Track = progress.track
    ) -> dict[str, dict[str, float]]:
        """Runs the evaluators, with the parameter averages where there are any.

        Args:
          split: the split to evaluate on, in all its domains, or one domain of it: `test`, or `validation` of a run that has
            one; None means all that it has.
          final: whether to run also the evaluators that otherwise run only at the end of training.
          seed: the seed of what they draw; None means the run's.
          track: a function that shows the progress.

        Returns:
          `{split: {name: value}}`; the standard error of a value `nll` is the value `nll_stderr`.

        Raises:
          UserError: if the data are not those that the run was trained with, or the run does not evaluate on the split.
        """
        seed = self.seed if seed is None else seed
        made = self.experiment
        there = {**made.evaluators, **(made.final if final else {})}
        if split is not None and not of_split(there, split):
            mend = "; a run that is trained with --validation has one" if split == "validation" else ""
            raise UserError(
                f"This run evaluates nothing on the split {split!r}, only on {', '.join(sorted(there)) or 'none'}{mend}."
            )
        often, at_end = (es if split is None else of_split(es, split) for es in (made.evaluators, made.final))
        with memory.explained("The evaluation", self.experiment.config.flags if self.experiment.config else None):
            results = evaluate(often, self._chosen, seed, track)
            if final:
                for of, found in evaluate(at_end, self._chosen, seed, track).items():
                    results[of] = {**results.get(of, {}), **found}
        return results

    def figures(
        self, values: Mapping[str, Mapping[str, float]], *, seed: int | None = None, checkpoint: str = "last"
    ) -> dict[str, Measurement]:
        """Evaluated values with their protocol: those that the experiment says are figures to compare.

        Args:
          values: the values as `evaluate` gave them.
          seed: the seed that `evaluate` was given.
          checkpoint: the way in which this checkpoint was chosen.

        Returns:
          The figures by name, such as `test/nll`; none for a split that the experiment does not have.
        """
        seed = self.seed if seed is None else seed
        return figures.evaluated(self.experiment, values, seed=seed, checkpoint=self._of_average(checkpoint))

    @checked
    def measure(
        self,
        metrics: Iterable[str],
        *,
        n: Count = 10_000,
        split: str = "test",
        extractor: Extractor | None = None,
        seed: Seed | None = None,
        checkpoint: str = "last",
        track: Track = progress.track,
    ) -> dict[str, Measurement]:
        """Measures the model's samples against the images of one of its splits.

        Args:
          metrics: names in `jaxgen.measuring.table.METRICS`.
          n: the number of samples.
          split: the split whose images are the real ones: `test`, `train`, or `validation` of a run that has one; of several
            domains one, `test/photos`. The floor is the value of other real images: those of training, or for `train` those
            that were held out.
          extractor: the network whose features are compared; None means pixels.
          seed: the seed of the draw and of every subset; None means the run's.
          checkpoint: the way in which this checkpoint was chosen, for the protocol.
          track: a function that shows the progress.

        Returns:
          The values by name, each with its protocol and its floor.

        Raises:
          UserError: if the model generates no images, or a metric cannot be computed from them.
        """
        return figures.measure(
            self.experiment,
            self._chosen,
            metrics,
            n=n,
            split=split,
            extractor=extractor,
            seed=self.seed if seed is None else seed,
            key=self._key(keys.SAMPLE, seed),
            name=self._name(),
            checkpoint=self._of_average(checkpoint),
            track=track,
        )

    def network(self, name: str = "model") -> tuple[nn.Module, dict[str, PyTree]]:
        """One of the experiment's networks, trained or frozen, ready for `module.apply(variables, ...)`.

        Args:
          name: the name of the network.

        Returns:
          The module, and its parameters and variables, such as batch statistics; the averages where there are any.

        Raises:
          UserError: if the experiment has no network of this name.
        """
        networks: dict[str, Network | FrozenNetwork] = {**self.experiment.networks, **self.experiment.frozen}
        if name not in networks:
            raise UserError(f"This experiment has no network {name!r}; it has {', '.join(networks) or 'none'}.")
        state = averaged(self.state, self.ema)
        return networks[name].module, self.experiment.variables(state.params, state.vars, name)

    def pictures(self) -> Album:
        """The experiment's pictures, by name; a notebook shows them."""
        return Album(draw(self.experiment.pictures, self._chosen, self.seed))

    def digest(self) -> str:
        """One hash over the whole state, the frozen parts and the data's position; equal exactly when every bit is."""
        own = serialization.without(self.state, self.experiment.frozen)
        return hashes.digest(to_tree(own), self.position, parts.described(self.experiment.frozen))

    @property
    def _chosen(self) -> TrainState:
        return with_average(self.state, self.ema)

    def _of_average(self, checkpoint: str) -> str:
        if self.sigma_rel is not None:
            return f"{checkpoint}, average of relative width {self.sigma_rel:g}"
        return f"{checkpoint}, average {self.ema}" if self.ema else checkpoint

    def _name(self) -> str:
        return str(self.workdir or (self.experiment.config.name if self.experiment.config else "the model"))

    def _key(self, purpose: int, seed: int | None = None) -> jax.Array:
        return jax.random.fold_in(jax.random.key(self.seed if seed is None else seed), purpose)


def _explained(parts: Iterator[np.ndarray], experiment: Experiment) -> Iterator[np.ndarray]:
    with memory.explained("Sampling", mend=f"it draws {SAMPLES} samples at once: take a device with more memory"):
        yield from parts


def evaluate(evaluators: Mapping[str, Evaluator], state: TrainState, seed: int, track: Track) -> dict[str, dict[str, float]]:
    """The evaluators' values by split. The key is the run's, the same at every step: differences are the model's."""
    key = jax.random.fold_in(jax.random.key(seed), keys.EVALUATE)
    return {split: dict(evaluator(averaged(state), key, track)) for split, evaluator in evaluators.items()}


def draw(
    pictures: Mapping[str, Callable[[TrainState, jax.Array], Picture]], state: TrainState, seed: int
) -> dict[str, Picture]:
    """The pictures by name, of the same noise at every step."""
    key = jax.random.fold_in(jax.random.key(seed), keys.DRAW)
    return {name: picture(averaged(state), key) for name, picture in pictures.items()}


def begin(experiment: Experiment, seed: int) -> TrainState:
    """The state before the first step, from the run's seed."""
    root = jax.random.key(seed)
    params, vars = experiment.initial(jax.random.fold_in(root, keys.PARAMETERS))
    return create_state(jax.random.fold_in(root, keys.STEPS), params, vars, experiment.players, ema=experiment.ema)
