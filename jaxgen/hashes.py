"""Hashes of arrays, states and records: SHA-256 over their bits."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxgen.types import PyTree


def leaves(tree: PyTree) -> dict[str, str]:
    """A hash of every leaf, its type and its shape by its path; with several hosts, of those that this one has whole.

    >>> list(leaves({"kernel": np.zeros((2, 2)), "bias": np.zeros(2)}))
    ['bias', 'kernel']
    """
    found = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
            array = np.asarray(leaf)
            hasher = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
            hasher.update(array.tobytes())
            found[jax.tree_util.keystr(path, simple=True, separator="/")] = hasher.hexdigest()
    return found


class AlteredError(ValueError):
    """An array that was read is not the one that was written."""


def verify(tree: PyTree, written: Mapping[str, str]) -> None:
    """Raises AlteredError at the first leaf whose hash is not the one on record."""
    for path, hashed in leaves(tree).items():
        if written.get(path, hashed) != hashed:
            raise AlteredError(f"{path} is not what was written")


def signature(record: Any) -> str:
    """A hash of a value that can be written as JSON; the order of names does not matter."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def digest(tree: PyTree, position: int, frozen: Mapping[str, Mapping[str, Any]] = {}) -> str:
    """One hash over parameters, optimizers, averages, variables, key, step and the data's position.

    Args:
      tree: a state as `serialization.to_tree` or `Checkpoints.tree` gives it.
      position: batches drawn from the stream.
      frozen: the record of the frozen parts, which the tree is without, each with its `digest`.

    Returns:
      64 hexadecimal digits of SHA-256; equal exactly when every bit of every array is.
    """
    hasher = hashlib.sha256(f"position {position}".encode())
    for path, leaf in sorted(leaves(tree).items()):
        hasher.update(f"{path} {leaf}".encode())
    for name, told in sorted(frozen.items()):
        hasher.update(f"frozen {name} {told['digest']}".encode())
    return hasher.hexdigest()
