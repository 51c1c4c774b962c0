"""Networks and parameters that a run takes from another run: frozen networks, or parameters to begin with."""

import contextvars
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.flags import place
from jaxgen.network import FrozenNetwork
from jaxgen.runs import chosen, parts, serialization, workdir
from jaxgen.runs.rebuild import structure, written_by


def frozen(
    run: str | Path,
    network: str = "model",
    *,
    step: int | None = None,
    best: bool = False,
    experiment: Callable[..., Experiment] | Experiment | str | None = None,
) -> FrozenNetwork:
    """A network of another run, to be a part of an experiment that never changes: `Experiment(frozen={"autoencoder": ...})`.

    The averages of its parameters and variables are taken where there are any. A run that is trained with it keeps a copy in
    its own folder, and finds it there when it goes on or is loaded: the other run's folder may then be deleted, or trained on.

    Args:
      run: the workdir of the other run. Its data need not be there.
      network: the name of one of its experiment's networks.
      step: the step of the checkpoint; None means the last one.
      best: the best checkpoint instead of the last.
      experiment: the function, or the file, that made the run, where it is not a module of `experiments`.

    Returns:
      The network.

    Raises:
      UserError: if there is no such run, checkpoint or network, its experiment is not known, or its checkpoint is not that of
        its network by now.
      DamagedError: if it is not what was written.
    """
    path = place(run)
    chosen.one_of(best, step)
    asked = "best" if best else "last" if step is None else f"step {step}"
    kept = parts.find(path.absolute(), network, asked)
    if kept is not None:
        folder, taken = kept
        saved = parts.read(folder)
        made = _built(folder, experiment)
        name, params, vars = saved.network, saved.params, saved.vars
        if name in made.frozen:
            handed = made.frozen[name]._replace(asked=asked, step=taken, folder=folder)
            return handed._replace(given=str(run), run=path.absolute(), network=network)
    else:
        if not (path / parts.RECORD).is_file():
            raise UserError(
                f"{path} holds no run to take the network {network!r} from; train that run first, or check the path. A run "
                "that was trained with it has a copy, and goes on by the command that began it, or by `fit` of the experiment "
                "of `jaxgen.load(THAT RUN)`."
            )
        made, folder, name = _built(path, experiment), path, network
        if name in made.frozen:
            return made.frozen[name]._replace(given=str(run), run=path.absolute(), network=network, asked=asked, folder=path)
        if name not in made.networks:
            raise UserError(f"The run in {path} has no network {name!r}; it has {', '.join({**made.networks, **made.frozen})}.")
        tree, taken = _saved(path, step=step, best=best)
        found = made.variables({**tree["params"], **tree["ema"]}, {**tree["vars"], **tree.get("ema_vars", {})}, name)
        params, vars = found.pop("params"), found
    difference = serialization.difference(serialization.shapes({"params": params, **vars}), _shapes(made, name))
    if difference is not None:
        raise UserError(
            f"The network {name!r} of {path} is not the one that its flags make here{written_by(workdir.read(folder))}: "
            f"{difference}; give the code that it was trained with."
        )
    params, vars = parts.on_host((params, vars))
    own, hashed = made.networks[name], parts.digest(params, vars)
    classes = made.splits["train"].classes if "train" in made.splits else {}
    whence = (hashed, str(run), path.absolute(), network, asked, taken, folder)
    return FrozenNetwork(own.module, params, vars, *whence, own.role, own.inputs, classes)


def load_params(path: str | Path, *, step: int | None = None, best: bool = False) -> dict[str, Any]:
    """The parameters of another run, by name, averages where there are any, for an `init` to begin with.

    Args:
      path: the other run's workdir; its experiment need not be known.
      step: the step of the checkpoint; None means the last one.
      best: the best checkpoint instead of the last.

    Returns:
      Nested dicts of arrays.
    """
    tree, _ = _saved(place(path), step=step, best=best)
    return {**tree["params"], **tree["ema"]}


def _built(folder: Path, experiment: Callable[..., Experiment] | Experiment | str | None) -> Experiment:
    """The experiment of a run, as far as its networks go."""
    # In a context of its own: what is made here opens no data of the experiment that asks, and no validation split is cut.
    return contextvars.Context().run(structure, folder, experiment)


def _saved(path: Path, *, step: int | None, best: bool) -> tuple[Any, int]:
    folder = workdir.read(path)
    checkpoints = folder.checkpoints()
    try:
        step = chosen.choose(checkpoints, folder, step=step, best=best)
        return checkpoints.tree(step), step
    finally:
        checkpoints.close()


def _shapes(made: Experiment, name: str) -> dict[str, tuple[Any, ...]]:
    params, vars = jax.eval_shape(made.initial, jax.random.key(0))
    return serialization.shapes(made.variables(params, vars, name))
