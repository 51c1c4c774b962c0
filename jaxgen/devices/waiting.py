"""Waiting for devices in such a way that signals are heard meanwhile."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax

T = TypeVar("T")

LONGEST = 0.02
"""Seconds between two looks at the devices, at most."""

_checks: list[Callable[[], None]] = []
_abandoned = False


def wait(tree: T, *, whole: bool = False) -> T:
    """Returns a tree of arrays when all of them are computed, as `jax.block_until_ready` does.

    That function runs no Python code before the devices have finished, so that Ctrl-C is not heard while they compute.

    Args:
      tree: the arrays; other leaves are let through.
      whole: whether to wait to the end, also where a check of `stopped_by` would stop it; a second Ctrl-C still does.

    Returns:
      The same tree.
    """
    global _abandoned
    arrays = [x for x in jax.tree.leaves(tree) if hasattr(x, "is_ready")]  # random keys have no such method
    started = time.perf_counter()
    try:
        while not all(x.is_ready() for x in arrays):
            for check in () if whole else _checks:
                check()
            # In proportion to the time already spent, so that a short wait is not prolonged by much.
            time.sleep(min(LONGEST, max(2e-5, 0.05 * (time.perf_counter() - started))))
    except BaseException:
        _abandoned = True
        raise
    return jax.block_until_ready(tree)


@contextlib.contextmanager
def stopped_by(check: Callable[[], None]) -> Iterator[None]:
    """While the context lasts, every `wait` calls `check`, which raises where the wait is to end."""
    _checks.append(check)
    try:
        yield
    finally:
        _checks.remove(check)


def abandoned() -> bool:
    """Whether a wait was given up while a device was computing.

    A process in which that happened should end by `os._exit`: Python's own way out destroys what the devices' threads
    still use.
    """
    return _abandoned
