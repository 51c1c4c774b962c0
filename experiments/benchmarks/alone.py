"""Contenders that run each in a process of its own, and the two ways in which most of them measure."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np

import jaxgen
from jaxgen.types import Batch

T = TypeVar("T")


def alone(contender: Callable[[], T]) -> Callable[[], T]:
    """A contender in a new process at each measurement, so that no other program, threads or memory share the process.

    Args:
      contender: a function of a module; it imports what it compares itself.

    Returns:
      The function that starts a process and waits for its measure.
    """

    def measure() -> T:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            return process.submit(contender).result()

    return measure


def rate(work: Callable[[], Any], examples: int, *, calls: int = 6, warm: int = 2) -> float:
    """Examples a second, by the median of some calls.

    Args:
      work: the function that is measured; it returns when its work is done.
      examples: the number of examples in a call.
      calls: the number of calls that are measured.
      warm: the number of calls before them, in which programs are compiled and memory is claimed.
    """
    for _ in range(warm):
        work()
    took = []
    for _ in range(calls):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return examples / float(np.median(took))


def steps(players: Mapping[str, jaxgen.Player], networks: Mapping[str, jaxgen.Network], batch: Batch) -> Callable[[], None]:
    """One training step a call, on a batch that lies on the device.

    Args:
      players: the players of a game.
      networks: the networks of the players.
      batch: the batch of every step.
    """
    params, variables = jaxgen.initialize(networks)(jax.random.key(0))
    state = jaxgen.create_state(jax.random.key(1), params, variables, players)
    step = jax.jit(jaxgen.make_train_step(players), donate_argnums=0)

    def run() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(step(state, batch))

    return run
