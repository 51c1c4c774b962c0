"""Sums and gathers over replicas. Under `pmap` each replica sees its part of the batch; these functions reach the others.

Everywhere else (`jit` on one device, or over a mesh of many) a program sees the whole batch: there is one replica, and every
function here is the identity. So a loss or a layer that looks across examples is written once, with these, and never asks how
it is run.
"""

from typing import TypeVar

import jax
from jax import lax

from jaxgen.types import Array, Key

AXIS = "data"
"""The name that `pmap` gives the axis of the replicas."""

T = TypeVar("T")


def named() -> bool:
    """Whether the program is being traced under `pmap`."""
    try:
        lax.axis_size(AXIS)
    except NameError:
        return False
    return True


def count() -> int:
    """The number of replicas."""
    return lax.axis_size(AXIS) if named() else 1


def total(tree: T) -> T:
    """The sum over the replicas, leaf by leaf."""
    return lax.psum(tree, AXIS) if named() else tree


def mean(tree: T) -> T:
    """The mean over the replicas, leaf by leaf."""
    return lax.pmean(tree, AXIS) if named() else tree


def gather(x: Array) -> Array:
    """The rows of all replicas, `[B / replicas, ...] -> [B, ...]`, in the order of the global batch."""
    return lax.all_gather(x, AXIS, tiled=True) if named() else x


def offset(x: Array) -> Array | int:
    """The row of `gather(x)` at which this replica's rows begin."""
    return lax.axis_index(AXIS) * x.shape[0] if named() else 0


def own(key: Key) -> Key:
    """A key that no other replica draws from."""
    return jax.random.fold_in(key, lax.axis_index(AXIS)) if named() else key
