"""The search for a step that is not finite: the step itself, the player and the leaf, then the operation."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.devices import hosts
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.game import TrainState, gradient, moves, turn, with_averaged_variables
from jaxgen.reduction import Mean, Metrics
from jaxgen.runs.rebuild import rebuild
from jaxgen.runs.run import begin
from jaxgen.runs.serialization import from_tree, to_tree
from jaxgen.runs.workdir import Workdir
from jaxgen.training.origins import origins
from jaxgen.training.program import DATA, Advance, batch_spec, step_of
from jaxgen.types import Batch, Key, PyTree


def first_bad(tree: PyTree) -> str | None:
    """The path of the first leaf that is not finite on this host, or None."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not all(np.isfinite(part).all() for part in _parts(leaf)):
            return jax.tree_util.keystr(path, simple=True, separator="/")
    return None


def blame(experiment: Experiment, state: TrainState, batch: Batch) -> str | None:
    """Names what is not finite in the step from a finite state: the player and its first bad leaf.

    Args:
      experiment: the experiment whose step is run.
      state: the state before the step.
      batch: the raw batch.

    Returns:
      The end of a sentence, or None where everything is finite.
    """
    key = jax.random.fold_in(state.key, state.step)
    batch = jax.jit(experiment.train.transform)(batch, jax.random.fold_in(key, DATA))
    if leaf := first_bad(dict(batch)):
        return f"the data, in {leaf}"
    told: dict[str, Mean] = {}
    for i, (name, player) in enumerate(experiment.players.items()):
        if not moves(state, player, told):
            continue
        inputs = batch, jax.random.fold_in(key, i), experiment.accumulate
        grads, _, metrics = _jit(gradient, name, player)(state, *inputs)
        bad = [metric for metric, mean in metrics.items() if first_bad(mean)]
        if leaf := first_bad({name: grads}):
            what = f"its {' and '.join(bad)} and the gradient" if bad else "the gradient, though its loss is finite"
            return f"player {name!r}, {what}, first in {leaf}"
        if bad:
            return f"player {name!r}, its {' and '.join(bad)}, though the gradient is finite"
        state, own = _jit(turn, name, player)(state, *inputs, told)
        told |= {f"{name}/{metric}": mean for metric, mean in own.items()}
        if leaf := first_bad(state):
            return f"player {name!r}, what its optimizer or its loss wrote, first in {leaf}"
    return None


def search(
    advance: Advance, state: TrainState, empty: Callable[[], Metrics], feed: Iterable[tuple[Any, Any]]
) -> TrainState | None:
    """Repeats steps one by one, bit for bit, until one is not finite or was skipped.

    Args:
      advance: the compiled steps of the run.
      state: the state to begin at; it is donated, so use it no more.
      empty: a function that makes an empty window of metrics.
      feed: the batches of each step, and the number 1.

    Returns:
      The state before that step, or None where all steps were finite.
    """
    for batches, one in feed:
        before = jax.tree.map(jnp.copy, state)
        state, window, _ = advance(state, empty(), batches, one)
        skipped = "skipped" in window and np.asarray(_parts(window["skipped"].total)[0]).any()
        found = skipped or first_bad(dict(window)) or first_bad(state)
        if hosts.max_over_hosts(int(bool(found))):
            return before
    return None


def keep(experiment: Experiment, before: TrainState, seed: int, what: str, folder: Workdir | None) -> str:
    """Keeps what a step that was not finite began with, for `replay`.

    Args:
      experiment: the experiment whose step is run.
      before: the state before it, the same on every host.
      seed: the seed of the run.
      what: the name of what was seen to be not finite.
      folder: the run's folder to keep it in, if there is one.

    Returns:
      The message: what happened, and what helps.
    """
    # As host arrays: what follows runs on one device, whatever the run is cut over.
    state = from_tree(before, jax.tree.map(np.asarray, to_tree(before)))
    step = int(state.step)
    batch = jax.tree.map(lambda x: jnp.asarray(x[0]), experiment.train.read(step, seed=seed))
    happened = f"Not finite in step {step + 1:,}: {blame(experiment, state, batch) or what}."
    mend = "Lower the learning rate, clip the gradient, or look for a logarithm or a division of zero in the loss."
    if folder is None:
        return f"{happened} {mend}"
    incidents = folder.incidents(keep=1)
    incidents.save(state, batch, step=step, meta={"position": step, "happened": happened})
    incidents.close()
    return (
        f"{happened} `jaxgen replay {folder.arguments}` says which operation made it; the checkpoints are from before. {mend}"
    )


def replay(path: str | Path, *, experiment: Callable[..., Experiment] | str | None = None) -> list[str]:
    """Repeats the step that was not finite in a run, operation by operation.

    Args:
      path: the workdir.
      experiment: the experiment or its file, as in `load`.

    Returns:
      Lines to print: what happened, and which operations made it.

    Raises:
      UserError: if no such step was kept, or the experiment is not known or another one by now.
    """
    made, folder = rebuild(path, experiment)
    incidents = folder.incidents()
    try:
        if not incidents.steps():
            raise UserError(f"No step of {path} was found to be not finite; there is nothing to replay.")
        state, batch, meta = incidents.restore(
            incidents.steps()[-1],
            jax.eval_shape(lambda: begin(made, int(folder.record["seed"]))),
            batch_spec(made.train),
        )
    finally:
        incidents.close()
    findings = origins(step_of(made), with_averaged_variables(state), batch)
    lines = [str(meta["happened"])]
    for finding in findings:
        lines += [
            f"  {finding.operation} made {finding.kind} in {finding.result}",
            f"    of  {finding.inputs}",
            f"    at  {finding.place}",
        ]
    if not findings:
        lines.append("  Repeated here it is finite: the code or the device is another, or the noise was that of a replica.")
    return lines


def _jit(function: Callable[..., Any], *fixed: Any) -> Callable[..., Any]:
    def call(state: TrainState, batch: Batch, key: Key, accumulate: int, *before: Metrics) -> Any:
        return function(state, *fixed, batch, key, accumulate, *before)

    return jax.jit(call, static_argnums=3)


def _parts(leaf: Any) -> list[np.ndarray]:
    if not isinstance(leaf, jax.Array):
        return [np.asarray(leaf)]
    if leaf.is_fully_replicated:
        return [np.asarray(leaf.addressable_data(0))]
    return [np.asarray(shard.data) for shard in leaf.addressable_shards]
