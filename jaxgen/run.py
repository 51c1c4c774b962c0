"""A run: an experiment with a state, to sample from, to evaluate, to draw and to hash."""

import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen import data, draws, hashes, keys, logs, memory, parallel, workdir
from jaxgen.checkpoint import Checkpoints
from jaxgen.errors import UserError
from jaxgen.evaluate import Evaluator
from jaxgen.experiment import Config, Experiment
from jaxgen.flags import Count, Seed, flag_name, held, place
from jaxgen.game import TrainState, averaged, create_state
from jaxgen.logs import Track
from jaxgen.metrics.features import Extractor, pixels
from jaxgen.metrics.protocol import Measurement, Protocol
from jaxgen.pictures import Album, Picture
from jaxgen.rebuild import rebuild
from jaxgen.serialization import to_tree
from jaxgen.uncertainty import paired

SAMPLES = 64
"""Samples that a device draws at once; the i-th chunk is drawn with the i-th key."""


@dataclass(frozen=True)
class Run:
    """What `fit` and `load` return.

    Attributes:
      experiment: what was trained.
      state: the training state.
      seed: the run's seed.
      position: batches drawn from the stream.
      workdir: where it lies, or None.
      history: the reported lines, as in `metrics.jsonl`.
    """

    experiment: Experiment
    state: TrainState
    seed: int
    position: int
    workdir: Path | None = None
    history: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def __repr__(self) -> str:
        """Three lines: what was trained, how far and where, and what was last measured."""
        return "\n".join(self._told())

    def _repr_html_(self) -> str:
        """What a notebook shows: the same, and the last values of each split as a table."""
        first, *rest = map(html.escape, self._told())
        rows = [[split, name, f"{value:.4g}"] for split, values in self._last().items() for name, value in values.items()]
        table = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in rows)
        return f"<b>{first}</b><br>{rest[0]}<br><table>{table}</table>Its pictures: <code>run.pictures()</code>"

    def _told(self) -> list[str]:
        config, sizes = (
            self.experiment.config,
            {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in self.state.params.items()},
        )
        changed = config.changed() if config else {}
        flags = "".join(
            f" {flag_name(flag)} {' '.join(map(str, v)) if isinstance(v, tuple) else v}" for flag, v in changed.items()
        )
        place = f"in {self.workdir}" if self.workdir else "in memory"
        values = [f"{split} {name} {value:.4g}" for split, of in self._last().items() for name, value in of.items()]
        return [
            f"Run of {config.name if config else 'an experiment'}{flags}",
            f"  step {self.position:,} of {self.experiment.steps:,}, seed {self.seed}, {place}; "
            f"parameters: {', '.join(f'{name} {size:,}' for name, size in sizes.items())}",
            f"  {', '.join(values[:8]) or 'nothing measured yet'}{', ...' if len(values) > 8 else ''}",
        ]

    def _last(self) -> dict[str, dict[str, float]]:
        """The last values of each split."""
        last: dict[str, dict[str, float]] = {}
        for line in self.history:
            last.setdefault(line["split"], {}).update({n: v for n, v in line.items() if n not in ("step", "split")})
        return dict(sorted(last.items(), key=lambda of: of[0] == "train"))  # what is evaluated comes first

    @held
    def sample(self, n: Count = 64, *, seed: Seed | None = None, track: Track = logs.track) -> np.ndarray:
        """Draws from the model, with the parameter averages where there are any.

        Args:
          n: how many. The first samples of a larger number are those of a smaller one.
          seed: of the draw; None means the run's.
          track: shows the progress.

        Returns:
          Images `[n, H, W, C]` in [0, 1], or points `[n, D]`.

        Raises:
          UserError: if the model generates nothing, an argument is out of range, or memory cannot hold the samples.
        """
        found: np.ndarray | None = None
        at = 0
        for chunk in self.samples(n, seed=seed, track=track):
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

    @held
    def samples(self, n: Count = 64, *, seed: Seed | None = None, track: Track = logs.track) -> Iterator[np.ndarray]:
        """The samples of `sample` in parts, for what memory does not hold at once.

        Args:
          n: how many, altogether.
          seed: as in `sample`.
          track: shows the progress.

        Returns:
          An iterator over arrays `[m, ...]`, in order.

        Raises:
          UserError: as in `sample`.
        """
        if self.experiment.sample is None:
            raise UserError("This experiment has no sampler: its model generates nothing.")
        parts = draws.chunks(
            self.experiment.sample,
            averaged(self.state),
            self._key(keys.SAMPLE, seed),
            n,
            size=SAMPLES,
            name=str(self.workdir or (self.experiment.config.name if self.experiment.config else "the model")),
            track=track,
        )
        return _explained(parts, self.experiment)

    @held
    def evaluate(
        self, *, final: bool = True, seed: Seed | None = None, track: Track = logs.track
    ) -> dict[str, dict[str, float]]:
        """Runs the evaluators, with the parameter averages where there are any.

        Args:
          final: also those that run only when training is through.
          seed: of what they draw; None means the run's.
          track: shows the progress.

        Returns:
          `{split: {name: value}}`; the standard error of a value `nll` is `nll_stderr`, beside it.

        Raises:
          UserError: if the data are not those that the run was trained beside.
        """
        seed = self.seed if seed is None else seed
        with memory.explained("The evaluation", self.experiment.config.flags if self.experiment.config else None):
            results = evaluate(self.experiment.evaluators, self.state, seed, track)
            if final:
                for split, values in evaluate(self.experiment.final, self.state, seed, track).items():
                    results[split] = {**results.get(split, {}), **values}
        return results

    def figures(
        self, values: Mapping[str, Mapping[str, float]], *, seed: int | None = None, checkpoint: str = "last"
    ) -> dict[str, Measurement]:
        """Evaluated values with their protocol: those that the experiment says are figures to compare.

        Args:
          values: as `evaluate` gave them.
          seed: that it was given.
          checkpoint: how this one was chosen.

        Returns:
          By name, `test/nll`; nothing of an experiment without a flag `dataset`.
        """
        config, found = self.experiment.config, {}
        if config is None or "dataset" not in config.flags:
            return {}
        for split, of_split in values.items():
            real = _split(config, split)
            told, pairs = f"{real.name} {data.contents(real)}", paired(of_split)
            for name, flags in self.experiment.protocol.items():
                if name not in of_split:
                    continue
                protocol = Protocol(
                    metric=f"{split}/{name}",
                    extractor="",
                    resizer="none",
                    real=told,
                    n_real=real.length,
                    n_fake=0,
                    seed=self.seed if seed is None else seed,
                    checkpoint=checkpoint,
                    settings=tuple((flag, config.flags[flag]) for flag in sorted(flags)),
                )
                value, error = pairs[name]
                found[protocol.metric] = Measurement(value, protocol, stderr=error)
        return found

    @held
    def measure(
        self,
        metrics: Iterable[str],
        *,
        n: Count = 10_000,
        split: str = "test",
        extractor: Extractor | None = None,
        seed: Seed | None = None,
        checkpoint: str = "last",
        track: Track = logs.track,
    ) -> dict[str, Measurement]:
        """Measures the model's samples against the images of its dataset.

        Args:
          metrics: names in `jaxgen.metrics.pairs.METRICS`.
          n: how many samples.
          split: of the dataset, whose images are the real ones; the floor is that of the other split's.
          extractor: the network in whose features; None means pixels.
          seed: of the draw and of every subset; None means the run's.
          checkpoint: how this one was chosen, for the protocol.
          track: shows the progress.

        Returns:
          By name, each value with its protocol and its floor.

        Raises:
          UserError: if the model generates no images, or a metric cannot be had of them.
        """
        # Here and not above: what measures sets of images takes a quarter of a second to import.
        from jaxgen.metrics import images, measure

        if self.experiment.sample is None or self.experiment.config is None:
            raise UserError("This experiment has no sampler: its model generates nothing.")
        if "dataset" not in self.experiment.config.flags:
            raise UserError("This experiment has no flag --dataset to hold its samples against; measure two folders or arrays.")
        sample, state = self.experiment.sample, averaged(self.state)
        real, others = (_split(self.experiment.config, of) for of in (split, "train" if split == "test" else "test"))
        extractor, metrics = extractor or pixels(), list(metrics)
        measure.check(measure.Plan(real, n, self.experiment.classes is not None, extractor), metrics)
        drawn = images.drawn(
            sample,
            state,
            self._key(keys.SAMPLE, seed),
            n,
            name=str(self.workdir or self.experiment.config.name),
            classes=self.experiment.classes,
            names=real.classes.get("label", ()),
            track=track,
        )
        with memory.explained("Measuring", mend="take another --extractor, or measure fewer images"), drawn as fake:
            return measure.measure(
                real,
                fake,
                metrics,
                extractor=extractor,
                others=others,
                checkpoint=checkpoint,
                seed=self.seed if seed is None else seed,
                track=track,
            )

    def pictures(self) -> Album:
        """The experiment's pictures, by name; a notebook shows them."""
        return Album(draw(self.experiment.pictures, self.state, self.seed))

    def digest(self) -> str:
        """One hash over the whole state and the data's position; equal exactly when every bit is."""
        return hashes.digest(to_tree(self.state), self.position)

    def _key(self, purpose: int, seed: int | None = None) -> jax.Array:
        return jax.random.fold_in(jax.random.key(self.seed if seed is None else seed), purpose)


def _explained(parts: Iterator[np.ndarray], experiment: Experiment) -> Iterator[np.ndarray]:
    with memory.explained("Sampling", mend=f"it draws {SAMPLES} samples at once: take a device with more memory"):
        yield from parts


def _split(config: Config, split: str) -> data.Source:
    """A split of a run's dataset, from where and as the run reads it."""
    for one in config.opened:
        if (one.dataset, one.split) == (config.flags["dataset"], split):
            return one.source
    where = {flag: config.flags[flag] for flag in ("data_dir", "cache_budget") if flag in config.flags}
    return data.load(config.flags["dataset"], split, **where)


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
    params, vars = experiment.init(jax.random.fold_in(root, keys.PARAMETERS))
    return create_state(jax.random.fold_in(root, keys.STEPS), params, vars, experiment.players, ema=experiment.ema)


def load(
    path: str | Path,
    *,
    step: int | None = None,
    best: bool = False,
    experiment: Callable[..., Experiment] | str | None = None,
    data_dir: str | Path | None = None,
    dataset: str | None = None,
) -> Run:
    """A run from its folder.

    Its data need not be there to sample from it. To evaluate it they may lie elsewhere, if they hold the same examples.

    Args:
      path: the workdir.
      step: of the checkpoint; None means the last one.
      best: the best checkpoint instead of the last; refused if the experiment has no value that marks it.
      experiment: the function, or the file, that made it, where it is not a module of `experiments`. A folder's word alone
        never makes code of another place run.
      data_dir: where prepared sets lie; None means where they lay, or `$TFDS_DATA_DIR` if that folder is gone.
      dataset: the name or the folder of the run's dataset, if it was moved; None means the one on record.

    Returns:
      The run, as it was at that step, on the devices that `fit` would train it on.

    Raises:
      UserError: if there is no such run or checkpoint, or the experiment is not known.
    """
    _one_of(best, step)
    made, folder = rebuild(path, experiment, data_dir=data_dir, dataset=dataset)
    seed = int(folder.record["seed"])
    checkpoints = folder.checkpoints()
    try:
        step = choose(checkpoints, folder, step=step, best=best)
        spec = jax.eval_shape(lambda: begin(made, seed))
        memory.check(spec, made.config.flags if made.config else None)
        if jax.process_count() == 1:  # of several hosts each reads for itself
            spec = parallel.choose().spec(spec)
        state, _, meta = checkpoints.restore(step, spec, None)
    finally:
        checkpoints.close()
    return Run(made, state, seed, int(meta["position"]), folder.path, logs.read_jsonl(folder.metrics))


def load_params(path: str | Path, *, step: int | None = None, best: bool = False) -> dict[str, Any]:
    """The parameters of another run, by name, averages where there are any: a tokenizer, an autoencoder, a teacher.

    Args:
      path: the other run's workdir; its experiment need not be known.
      step: of the checkpoint; None means the last one.
      best: the best checkpoint instead of the last.

    Returns:
      Nested dicts of arrays, for an experiment's `init` to return under a name that is no player's.
    """
    folder = workdir.read(place(path))
    checkpoints = folder.checkpoints()
    try:
        tree = checkpoints.tree(choose(checkpoints, folder, step=step, best=best))
    finally:
        checkpoints.close()
    return {**tree["params"], **tree["ema"]}


def digest(path: str | Path) -> str:
    """The digest of a folder's latest checkpoint; the experiment need not be known."""
    folder = workdir.read(place(path))
    checkpoints = folder.checkpoints()
    try:
        step = choose(checkpoints, folder)
        return hashes.digest(checkpoints.tree(step), int(checkpoints.meta(step)["position"]))
    finally:
        checkpoints.close()


def choose(checkpoints: Checkpoints, folder: workdir.Workdir, *, step: int | None = None, best: bool = False) -> int:
    """The step of the checkpoint that is asked for."""
    _one_of(best, step)
    there, path = checkpoints.steps(), folder.path
    if not there:
        raise UserError(f"The run in {path} has no checkpoint yet; train it, with a smaller --save-every if need be.")
    if best and step is None and folder.record["best"] is None:
        listed = ", ".join(f"{s:,}" for s in there)
        raise UserError(
            f"The experiment of {path} evaluates no value by which its steps could be compared (an adversarial loss depends on "
            f"the opponent), so that no checkpoint is the best; choose one of step {listed} by --step."
        )
    chosen = (checkpoints.best() if best else there[-1]) if step is None else step
    if chosen not in there:
        listed = ", ".join(f"{s:,}" for s in there)
        wanted = "best checkpoint" if step is None else f"checkpoint of step {step:,}"
        raise UserError(f"The run in {path} has no {wanted}; it has {listed}.")
    return chosen


def _one_of(best: bool, step: int | None) -> None:
    if best and step is not None:
        raise UserError(f"--best and --step {step} name a checkpoint each; give one of them.")
