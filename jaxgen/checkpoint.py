"""Checkpoints: the state, the window of metrics under way, and the position of the data, saved atomically by orbax."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization
from orbax.checkpoint import checkpoint_managers as policies

from jaxgen import logs
from jaxgen.errors import UserError
from jaxgen.game import TrainState
from jaxgen.types import PyTree


class Restored(NamedTuple):
    """What a checkpoint holds."""

    state: TrainState
    window: PyTree
    meta: Mapping[str, Any]


class Checkpoints:
    """The checkpoints below one folder: the last `keep` and the best.

    Saving is asynchronous and atomic: a folder without orbax's commit mark does not exist for it.

    Args:
      folder: made if it does not exist.
      keep: how many of the last ones to keep, beside the best.
    """

    def __init__(self, folder: Path, *, keep: int = 1) -> None:
        kept = policies.AnyPreservationPolicy(
            [
                policies.LatestN(keep),
                policies.BestN(get_metric_fn=lambda metrics: metrics["best"], reverse=True, n=1),
            ]
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=kept, best_fn=lambda m: m["best"], best_mode="min")
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "window": ocp.StandardCheckpointHandler(),
            "meta": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options, item_handlers=handlers)

    def save(self, state: TrainState, window: PyTree, *, step: int, meta: Mapping[str, Any], best: float | None = None) -> None:
        """Starts to save; the arrays may be overwritten as soon as this returns.

        Args:
          state: the training state.
          window: metrics accumulated since the last log, so that a resumed run logs what an unbroken one does.
          step: the state's step, known on the host.
          meta: JSON: the data's position, the config, the versions.
          best: the value whose minimum marks the best checkpoint, where it was evaluated at this step.
        """
        if step in self._manager.all_steps():
            # A stop right after a regular save, or an evaluation made up for on resume: the state is the same.
            self._manager.delete(step)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(to_tree(state)),
            window=ocp.args.StandardSave(serialization.to_state_dict(window)),
            meta=ocp.args.JsonSave(dict(meta)),
        )
        with logs.muted("absl"):  # warns of every checkpoint that was not evaluated
            self._manager.save(step, args=items, metrics=None if best is None else {"best": best})

    def steps(self) -> list[int]:
        """The committed steps."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """The last committed step."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step with the least evaluated value, if any was evaluated."""
        return self._manager.best_step()

    def meta(self, step: int) -> Mapping[str, Any]:
        """What was saved beside the state."""
        return self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta

    def tree(self, step: int) -> PyTree:
        """The state as plain nested dicts of arrays, without knowing the experiment."""
        target = _here(self._manager.item_metadata(step)["state"])
        return self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))).state

    def restore(self, step: int, state: TrainState, window: PyTree) -> Restored:
        """The checkpoint of a step, in the shapes of a state and a window of the same experiment.

        Args:
          step: which one.
          state: shapes, dtypes and shardings to restore to (`jax.eval_shape` gives them without an array); without a sharding
            a leaf comes to the first device, wherever it was saved from.
          window: likewise; None leaves the window out.

        Returns:
          The state, the window and the meta data.

        Raises:
          UserError: if the checkpoint is of another architecture; names the first differing leaf.
        """
        target = _here(to_tree(state))
        _compare(self._manager.item_metadata(step)["state"], target, f"the checkpoint of step {step}")
        items: dict[str, Any] = {"state": ocp.args.StandardRestore(target), "meta": ocp.args.JsonRestore()}
        if window is not None:
            items["window"] = ocp.args.StandardRestore(_here(serialization.to_state_dict(window)))
        got = self._manager.restore(step, args=ocp.args.Composite(**items))
        restored = serialization.from_state_dict(window, got["window"]) if window is not None else None
        return Restored(from_tree(state, got["state"]), restored, got["meta"])

    def wait(self) -> None:
        """Returns when everything is on disk; raises what went wrong in the background."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and lets go of the folder."""
        self._manager.close()


def to_tree(state: TrainState) -> dict[str, Any]:
    """A state as plain nested dicts of arrays: what is on disk does not depend on any class."""
    return serialization.to_state_dict(state._replace(key=_key_data(state.key)))


def from_tree(like: TrainState, tree: Mapping[str, Any]) -> TrainState:
    """The inverse of `to_tree`, in the structure of `like`."""
    state = serialization.from_state_dict(like._replace(key=_key_data(like.key)), dict(tree))
    return state._replace(key=jax.random.wrap_key_data(state.key))


def digest(tree: Mapping[str, Any], position: int) -> str:
    """One hash over parameters, optimizers, averages, variables, key, step and the data's position.

    Args:
      tree: a state as `to_tree` or `Checkpoints.tree` gives it.
      position: batches drawn from the stream.

    Returns:
      64 hexadecimal digits of SHA-256; equal exactly when every bit of every array is.
    """
    hasher = hashlib.sha256(f"position {position}".encode())
    for path, leaf in sorted((jax.tree_util.keystr(p), leaf) for p, leaf in jax.tree.leaves_with_path(tree)):
        array = np.asarray(leaf)
        hasher.update(f"{path} {array.dtype} {array.shape}".encode())
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()


def _key_data(key: Any) -> Any:
    if not isinstance(key, jax.ShapeDtypeStruct):
        return jax.random.key_data(key)
    data = jax.eval_shape(jax.random.key_data, key)
    return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=key.sharding)


def _here(specs: Any) -> Any:
    """Shapes and dtypes with a sharding each: left alone, orbax asks for the devices that a leaf was saved from."""
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def at(spec: Any) -> jax.ShapeDtypeStruct:
        sharding = spec.sharding if isinstance(spec, jax.ShapeDtypeStruct) else None
        return jax.ShapeDtypeStruct(spec.shape, spec.dtype, sharding=sharding or first)

    return jax.tree.map(at, specs)


def _compare(saved: Any, target: Any, what: str) -> None:
    def leaves(tree: Any) -> dict[str, tuple[Any, Any]]:
        flat = jax.tree.leaves_with_path(tree)
        return {jax.tree_util.keystr(p, simple=True, separator="/"): (tuple(x.shape), np.dtype(x.dtype)) for p, x in flat}

    there, here = leaves(saved), leaves(target)
    for path in sorted(there.keys() | here.keys()):
        if there.get(path) != here.get(path):
            a, b = (f"{t[path][1]}{list(t[path][0])}" if path in t else "absent" for t in (there, here))
            raise UserError(
                f"{what[0].upper()}{what[1:]} does not fit this experiment: {path} is {a} there and {b} here; "
                "use the flags and the code that it was trained with, or another --workdir."
            )
