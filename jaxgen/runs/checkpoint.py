"""Checkpoints: the state, the window of metrics under way, and the position of the data, saved atomically by orbax."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import orbax.checkpoint as ocp

from jaxgen import disk, hashes, progress
from jaxgen.devices import hosts
from jaxgen.errors import DamagedError, UserError
from jaxgen.game import TrainState
from jaxgen.network import FrozenNetwork
from jaxgen.runs import orbax_noise, serialization
from jaxgen.runs.preserved import Preserved, listed
from jaxgen.types import PyTree

TRASH = ".deleted"

FORMAT = 1
"""The format of the checkpoints that this version writes; it reads all formats up to this one."""


class Restored(NamedTuple):
    """The contents of a checkpoint."""

    state: TrainState
    beside: PyTree
    meta: Mapping[str, Any]


class Checkpoints:
    """The checkpoints below one folder: the last `keep`, the best, and those that are kept for good.

    Saving is asynchronous and atomic: a folder without orbax's commit mark does not exist for it. Every leaf has
    a hash on record, so that a checkpoint is read as it was written or not at all.

    Args:
      folder: the folder of the checkpoints.
      keep: the number of last checkpoints to keep, in addition to the best; the folder is made, and cleared of the files that a
        dead writer left behind. None reads only.
      keep_every: the number whose multiples are the steps that are kept for good; None keeps no further ones. A checkpoint says
        of itself that it is kept, so that a later writer with another number deletes none of these.
      best: the function that chooses the best of the committed steps, if any is; it is asked whenever checkpoints are deleted.
      frozen: the frozen parts of the state, which are not saved, and are put back into a state that is restored.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int | None = None,
        keep_every: int | None = None,
        best: Callable[[Sequence[int]], int | None] = lambda steps: None,
        frozen: Mapping[str, FrozenNetwork] = {},
    ) -> None:
        self.folder, self._best, self._writes, self._failed = folder.resolve(), best, keep is not None, False
        self._frozen = frozen
        self._preserved = Preserved(keep or 1, keep_every, self.best)
        chosen: dict[str, Any] = {"read_only": True}
        if keep is not None:
            # Renamed first, then deleted: a checkpoint that is half deleted must not look like one.
            chosen = {"preservation_policy": self._preserved, "cleanup_tmp_directories": True, "todelete_subdir": TRASH}
            # Else threads wait 20 minutes for folders that could not be made, and the process with them.
            chosen["async_options"] = ocp.AsyncOptions(create_directories_asynchronously=False)
        orbax_noise.hush()
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "beside": ocp.StandardCheckpointHandler(),
            "meta": ocp.JsonCheckpointHandler(),
        }
        with self._explained("Opening the checkpoints"), progress.muted("absl"):
            options = ocp.CheckpointManagerOptions(**chosen)
            self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)
        self._sweep()
        if self._writes:
            self._preserved.marked |= {step for step in self.steps() if self._marked(step)}

    def save(self, state: TrainState, beside: PyTree, *, step: int, meta: Mapping[str, Any]) -> None:
        """Starts to save; the arrays may be overwritten as soon as this returns.

        Args:
          state: the training state.
          beside: the arrays that are saved with the state: the metrics accumulated since the last log, so that a resumed
            run logs what an unbroken one does.
          step: the state's step, known on the host.
          meta: a record that can be written as JSON: the data's position, the config, the versions.

        Raises:
          UserError: if the disk refuses this checkpoint, or refused the one before, whose error appears only now.
        """
        own = serialization.without(state, self._frozen)
        items = {"state": serialization.to_tree(own), "beside": flax.serialization.to_state_dict(beside)}
        signed = {
            **meta,
            "format": FORMAT,
            **({"kept": True} if self._preserved.for_good(step) else {}),
            "storage": ocp.__version__,
            "leaves": hashes.leaves(items),
            "shapes": {path: list(told) for path, told in serialization.shapes(items).items()},
        }
        signed["signature"] = hashes.signature(signed)
        arrays = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        with self._explained(f"Saving step {step:,}"), progress.muted("absl"):
            self._manager.save(step, args=ocp.args.Composite(**arrays, meta=ocp.args.JsonSave(signed)))
        self._sweep()

    def steps(self) -> list[int]:
        """The committed steps."""
        steps = sorted(self._manager.all_steps())
        if not steps and not self._writes:  # a reader may have looked between one that came and one that went
            self._manager.reload()
            steps = sorted(self._manager.all_steps())
        return steps

    def best(self) -> int | None:
        """The best of the committed steps, if any was evaluated."""
        return self._best(self.steps())

    def meta(self, step: int) -> Mapping[str, Any]:
        """The metadata of a checkpoint: all that is saved and is no array."""
        with self._reading(step):
            meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
            if meta.pop("signature") != hashes.signature(meta):
                raise ValueError("what it says of itself was changed")
        if (version := meta.get("format", 1)) > FORMAT:
            raise UserError(
                f"The checkpoint of step {step:,} in {self.folder} was written by a newer jaxgen "
                f"(format {version}, this one reads {FORMAT}); upgrade jaxgen."
            )
        return meta

    def tree(self, step: int) -> PyTree:
        """The state as plain nested dicts of arrays, without knowing the experiment."""
        meta = self.meta(step)
        with self._reading(step, meta):
            target = serialization.on_first_device(self._saved_specs(step))
            tree = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))).state
            hashes.verify({"state": tree}, meta["leaves"])
        return tree

    def restore(self, step: int, state: TrainState, beside: PyTree) -> Restored:
        """The checkpoint of a step, in the shapes of a state and of the other arrays of the same experiment.

        Args:
          step: the step of the checkpoint.
          state: shapes, dtypes and shardings to restore to (`jax.eval_shape` gives them without an array); without a sharding
            a leaf comes to the first device, wherever it was saved from.
          beside: the shapes, dtypes and shardings of the arrays that were saved with the state; None leaves them out.

        Returns:
          The state, the other arrays and the metadata. A state that was saved before averages of variables were kept has
          none (`game.with_averaged_variables` begins them).

        Raises:
          UserError: if the checkpoint is whole, and of another tree, shape, dtype or version; it names the first leaf that
            differs.
          DamagedError: if it is not what was written.
        """
        meta = self.meta(step)
        self._check_frozen(step, meta)
        whole, state = state, serialization.without(state, self._frozen)
        targets = {"state": serialization.on_first_device(serialization.to_tree(state))}
        if beside is not None:
            targets["beside"] = serialization.on_first_device(flax.serialization.to_state_dict(beside))
        with self._reading(step, meta):
            # What is expected is held against the signed record: the files may be damaged.
            recorded = meta.get("shapes") or serialization.shapes({name: self._saved_specs(step, name) for name in targets})
            there = {path: tuple(told) for path, told in recorded.items() if path.partition("/")[0] in targets}
            if "shapes" not in meta and "ema_vars" not in self._saved_specs(step):
                # Written before averages of variables were kept.
                state = state._replace(ema_vars={})
                del targets["state"]["ema_vars"]
            serialization.check_fits(there, serialization.shapes(targets), f"The checkpoint of step {step:,} in {self.folder}")
            args = {name: ocp.args.StandardRestore(target) for name, target in targets.items()}
            got = self._manager.restore(step, args=ocp.args.Composite(**args))
            hashes.verify({name: got[name] for name in targets}, meta["leaves"])
            restored = flax.serialization.from_state_dict(beside, got["beside"]) if beside is not None else None
            own = serialization.from_tree(state, got["state"])
            return Restored(serialization.with_parts(own, self._frozen, whole), restored, meta)

    def restore_last(self, state: TrainState, beside: PyTree, *, aside: Path, say: Callable[[str], None]) -> Restored | None:
        """The last checkpoint that is whole, or None if there is none at all.

        Args:
          state: the shapes, dtypes and shardings of the state, as in `restore`.
          beside: the shapes of the other arrays, as in `restore`.
          aside: the folder that damaged ones are moved to.
          say: a function that is given a sentence about each damaged checkpoint.

        Raises:
          DamagedError: if none is whole; they are left where they are.
        """
        for step in reversed(steps := self.steps()):
            try:
                return self.restore(step, state, beside)
            except DamagedError as damaged:
                if step == steps[0]:
                    raise
                say(f"{damaged} It is moved to {aside}.")
            if hosts.is_main_host():
                aside.mkdir(exist_ok=True)
                shutil.rmtree(aside / str(step), ignore_errors=True)
                os.replace(self.folder / str(step), aside / str(step))
            hosts.barrier("the damaged checkpoint is out of the way")
            self._manager.reload()
        return None

    def wait(self) -> None:
        """Returns when everything is on disk; raises what went wrong in the background."""
        with self._explained("Saving"):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the writer, and releases the folder."""
        try:
            with self._explained("Saving"):
                self._manager.close()
        except Exception:
            # Told once: what went wrong before is the reason for leaving.
            if not self._failed:
                raise
        self._sweep()
        if self._writes:
            with contextlib.suppress(OSError):
                (self.folder / TRASH).rmdir()

    def _marked(self, step: int) -> bool:
        with contextlib.suppress(UserError):  # what cannot be read is told when it is asked for
            return bool(self.meta(step).get("kept", False))
        return False

    def _check_frozen(self, step: int, meta: Mapping[str, Any]) -> None:
        there = {name: told["digest"] for name, told in meta.get("run", {}).get("frozen", {}).items()}
        here = {name: part.digest for name, part in self._frozen.items()}
        for name in sorted(there.keys() | here.keys()):
            if there.get(name) != here.get(name):
                a, b = (digests.get(name, "none")[:8] for digests in (there, here))
                raise UserError(
                    f"The checkpoint of step {step:,} in {self.folder} was trained with another frozen part {name!r} "
                    f"({a} there, {b} here); give the one that it was trained with."
                )

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            with disk.explained(f"{what} in {self.folder.parent}", disk.GO_ON):
                yield
        except Exception:
            self._failed = True
            raise

    @contextlib.contextmanager
    def _reading(self, step: int, meta: Mapping[str, Any] | None = None) -> Iterator[None]:
        try:
            yield
        except (UserError, MemoryError):
            raise
        except Exception as error:
            if "RESOURCE_EXHAUSTED" in str(error):  # the device's memory, or the disk's
                raise
            if not (self.folder / str(step)).is_dir():
                raise UserError(
                    f"The checkpoint of step {step:,} in {self.folder} was deleted while it was read, as the run goes on; "
                    "give the same command again."
                ) from error
            storage = (meta or {}).get("storage", ocp.__version__)
            if storage != ocp.__version__ and not isinstance(error, hashes.AlteredError):
                raise UserError(
                    f"The checkpoint of step {step:,} in {self.folder} cannot be read ({_line(error)}): it was written by "
                    f"orbax-checkpoint {storage}, and this is {ocp.__version__}; install that version. If it cannot be read "
                    "there either, it is damaged: remove its folder, and the run goes on from the checkpoint before."
                ) from error
            others = listed([s for s in self.steps() if s != step])
            raise DamagedError(
                f"The checkpoint of step {step:,} in {self.folder} is damaged ({_line(error)}); "
                + (f"there are those of step {others}." if others else "there is no other: restore it from a copy.")
            ) from error

    def _saved_specs(self, step: int, name: str = "state") -> PyTree:
        with progress.muted("absl"):
            specs = self._manager.item_metadata(step)[name]
        if specs is None:
            raise ValueError("the shapes of its arrays are not there")
        return specs

    def _sweep(self) -> None:
        # Not the folder itself, into which orbax may be moving the next one; and the writer alone: a reader changes nothing.
        for old in (self.folder / TRASH).glob("*") if self._writes else ():
            shutil.rmtree(old, ignore_errors=True)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
