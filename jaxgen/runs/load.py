"""A run from its folder: to sample from, to evaluate, to go on with, or to compare by one hash."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxgen import data, hashes
from jaxgen.devices import memory, parallel
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.flags import place
from jaxgen.runs import chosen, journal, workdir
from jaxgen.runs.rebuild import rebuild
from jaxgen.runs.reconstruction import reconstructed
from jaxgen.runs.run import Run, begin


def load(
    path: str | Path,
    *,
    step: int | None = None,
    best: bool = False,
    ema: int = 0,
    sigma_rel: float | None = None,
    experiment: Callable[..., Experiment] | Experiment | str | None = None,
    data_dir: str | Path | None = None,
    dataset: str | data.Given | Mapping[str, str | data.Given] | None = None,
    anew: Mapping[str, Any] | None = None,
) -> Run:
    """A run from its folder.

    Its data need not be there to sample from it. To evaluate it they may lie elsewhere, if they hold the same examples.

    Args:
      path: the workdir.
      step: the step of the checkpoint; None means the last one.
      best: the best checkpoint instead of the last; refused if the experiment has no value that marks it.
      ema: the place of the average to sample from and to evaluate, among several decays (`Experiment.ema`), from 0.
      sigma_rel: the relative width of the average to sample from and to evaluate, which is made of the power-function averages
        in all checkpoints up to that step; None takes an average that was kept.
      experiment: the function, or the file, that made it, where it is not a module of `experiments`; or the experiment itself,
        which a run needs that was trained with a loss or another value of your own. A folder's word alone never makes code of
        another place run.
      data_dir: the folder of the prepared sets; None means the one that the run was trained with, or `$TFDS_DATA_DIR` if that
        folder is gone.
      dataset: the name or the folder of the run's dataset, if it was moved, or its sources, if it was given as such; of a run
        on several datasets these by their flags, `{"photos": ..., "paintings": ...}`. None means those on record.
      anew: flags of sampling and measuring, with the values that take the place of those on record:
        `anew={"sampling_steps": 50}`. Values that are measured with them name them in their protocol.

    Returns:
      The run, as it was at that step, on the devices that `fit` would train it on.

    Raises:
      UserError: if there is no such run, checkpoint or average, the experiment is not known, or training depends on a flag of
        `anew`.
    """
    chosen.one_of(best, step)
    if ema and sigma_rel is not None:
        raise UserError(f"ema={ema} and sigma_rel={sigma_rel:g} name an average each; give one of them.")
    made, folder = rebuild(path, experiment, data_dir=data_dir, dataset=dataset, anew=anew)
    seed = int(folder.record["seed"])
    checkpoints = folder.checkpoints(frozen=made.frozen)
    try:
        step = chosen.choose(checkpoints, folder, step=step, best=best)
        spec = jax.eval_shape(lambda: begin(made, seed))
        if ema not in range(len(spec.more_ema) + 1):
            there = len(spec.more_ema) + bool(spec.ema)
            raise UserError(f"The run in {path} keeps {there} averages, so that ema={ema} is none of them; they count from 0.")
        memory.check(spec, made.config.flags if made.config else None)
        if jax.process_count() == 1:  # of several hosts each reads for itself
            spec = parallel.choose().spec(spec)
        state, _, meta = checkpoints.restore(step, spec, None)
        if sigma_rel is not None:
            state = reconstructed(made, checkpoints, spec, state, step, sigma_rel)
    finally:
        checkpoints.close()
    return Run(made, state, seed, int(meta["position"]), folder.path, journal.read_jsonl(folder.metrics), ema, sigma_rel)


def digest(path: str | Path) -> str:
    """The digest of a folder's latest checkpoint; the experiment need not be known."""
    folder = workdir.read(place(path))
    checkpoints = folder.checkpoints()
    try:
        step = chosen.choose(checkpoints, folder)
        meta = checkpoints.meta(step)
        return hashes.digest(checkpoints.tree(step), int(meta["position"]), meta.get("run", {}).get("frozen", {}))
    finally:
        checkpoints.close()
