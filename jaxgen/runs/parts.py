"""Frozen parts on the disk: a run keeps one copy of each network that it takes from another run, in its own folder.

frozen/DIGEST/run.json         the record of the run that the network is of, from which its module is built again
frozen/DIGEST/network.msgpack  the network's name there, its parameters and its variables
frozen/DIGEST/frozen/          the frozen parts of that run, if it has any
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from jaxgen import disk, hashes
from jaxgen.errors import DamagedError
from jaxgen.network import FrozenNetwork
from jaxgen.types import PyTree

FOLDER, RECORD, ARRAYS = "frozen", "run.json", "network.msgpack"


class Kept(NamedTuple):
    """A network as a folder keeps it."""

    network: str
    params: PyTree
    vars: Mapping[str, PyTree]


def digest(params: PyTree, vars: Mapping[str, PyTree]) -> str:
    """The hash of a network's arrays, 64 hexadecimal digits."""
    return hashes.signature(hashes.leaves({"params": params, "vars": dict(vars)}))


def described(frozen: Mapping[str, FrozenNetwork]) -> dict[str, dict[str, Any]]:
    """The record of a run's frozen parts, as JSON, by their names."""
    return {
        name: {
            "run": str(part.run),
            "network": part.network,
            "asked": part.asked,
            "step": part.step,
            "digest": part.digest,
        }
        for name, part in frozen.items()
    }


def write(path: Path, part: FrozenNetwork) -> None:
    """Writes a part into the folder of a run, unless it is there."""
    target = path / FOLDER / part.digest
    if target.is_dir():
        return
    scratch = target.with_name(f"{part.digest}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    shutil.copy(part.folder / RECORD, scratch / RECORD)
    if (part.folder / FOLDER).is_dir():
        shutil.copytree(part.folder / FOLDER, scratch / FOLDER)
    tree = {"network": part.network, "params": part.params, "vars": dict(part.vars)}
    disk.write(scratch / ARRAYS, flax.serialization.msgpack_serialize(tree))
    os.replace(scratch, target)
    disk.sync(target.parent)


def read(folder: Path) -> Kept:
    """The network that a folder keeps.

    Raises:
      DamagedError: if it is not what was written.
    """
    try:
        tree = flax.serialization.msgpack_restore((folder / ARRAYS).read_bytes())
        kept = Kept(tree["network"], tree["params"], tree["vars"])
        if digest(kept.params, kept.vars) == folder.name:
            return kept
    except Exception:  # whatever a parser makes of bytes that are no longer those that were written
        pass
    raise DamagedError(f"The frozen network in {folder} is damaged: it is not what was written; restore it from a copy.")


@contextlib.contextmanager
def kept_in(path: Path) -> Iterator[None]:
    """While the context lasts, an experiment is made for the run in a folder: its frozen parts are found there first."""
    token = _RUN.set(path)
    try:
        yield
    finally:
        _RUN.reset(token)


def find(run: Path, network: str, asked: str) -> tuple[Path, int] | None:
    """The copy of another run's network that the run keeps, for which an experiment is made, and its step; within `kept_in`.

    Args:
      run: the folder of the other run, which need not be there any more.
      network: the name of the network.
      asked: the checkpoint that is asked for, as in `FrozenNetwork`.
    """
    path = _RUN.get()
    try:
        record = {} if path is None else json.loads((path / RECORD).read_text(encoding="utf-8")).get("frozen", {})
        for told in record.values():
            folder = None if path is None else path / FOLDER / told["digest"]
            same = (told["run"], told["network"], told["asked"]) == (str(run), network, asked)
            if folder is not None and same and folder.is_dir():
                return folder, int(told["step"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # no run yet, or a damaged record, of which those who read it whole will tell
    return None


def valid(record: Any) -> bool:
    """Whether a record of frozen parts has the form that `described` writes."""
    kinds = {"run": str, "network": str, "asked": str, "step": int, "digest": str}
    return isinstance(record, dict) and all(
        isinstance(told, dict) and all(type(told.get(name)) is kind for name, kind in kinds.items()) for told in record.values()
    )


def on_host(tree: PyTree) -> PyTree:
    """The arrays of a network in the memory of the host."""
    return jax.tree.map(np.asarray, tree)


_RUN: ContextVar[Path | None] = ContextVar("the folder of the run that an experiment is made for", default=None)
