"""The cost of more devices: 1 to 8 simulated ones with equal work for each, under a mesh, `fsdp` and `pmap`.

python -m experiments.benchmarks.devices --json devices.json            # 5 minutes on 2 cores

Simulated devices share the cores of one machine, so the ideal is a constant number of examples/s: what is lost is the cost of
splitting and of communication. The bytes that a step communicates are counted from the compiled program, and do not depend on
the machine.
"""

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from unittest import mock

import jax
import numpy as np
import tyro

from experiments.benchmarks.alone import alone, rate
from experiments.benchmarks.overhead import experiment
from experiments.benchmarks.pairing import pair, report
from jaxgen.devices import parallel
from jaxgen.runs.run import begin
from jaxgen.training import program

COUNTS = (1, 2, 4, 8)
BATCH, CALL = 100, 20

COLLECTIVE = re.compile(r"= (.*?) (?:all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)(?:-start)?\(")
ARRAY = re.compile(r"(f64|f32|bf16|f16|s64|s32|u32|u8|pred)\[([\d,]*)\]")
BYTES = {"f64": 8, "s64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "u8": 1, "pred": 1}


def communicated(program: str) -> int:
    """The bytes that one device receives from the collectives of a compiled program, each counted once.

    Args:
      program: the text of the compiled program.

    Returns:
      The sum of the sizes of their results.

    >>> communicated("%a = f32[4,2]{1,0} all-reduce(%x), to_apply=%add")
    32
    """
    arrays = (array for found in COLLECTIVE.finditer(program) for array in ARRAY.findall(found[1]))
    return sum(BYTES[dtype] * int(np.prod([int(n) for n in shape.split(",") if n], dtype=int)) for dtype, shape in arrays)


def examples_per_second(kind: Literal["jit", "pmap"], *, cut: bool = False) -> float:
    """The examples per second of the VAE of `overhead`, on all devices of the process."""
    return _measure(kind, cut)[0]


def kilobytes(kind: Literal["jit", "pmap"], *, cut: bool = False) -> float:
    """The data that a device receives in a step, in kB."""
    return _measure(kind, cut)[1] / 1e3


def _measure(kind: Literal["jit", "pmap"], cut: bool) -> tuple[float, int]:
    count = jax.device_count()
    way = parallel.choose(kind, fsdp=count if cut else 1)
    made = experiment(0, BATCH * count)
    spec = jax.eval_shape(lambda: begin(made, 0))
    compiled = program.compiled(made, spec, way, skip_not_finite=False, steps_per_call=CALL)
    advance: Any = compiled.advance
    state = way.place(begin(made, 0))
    window = way.place(jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), compiled.window))
    batches, n = way.feed(made.train.read(0, seed=0, steps=CALL), np.int32(CALL))
    text = advance.lower(state, window, batches, n).compile().as_text()

    def call() -> None:
        nonlocal state, window
        state, window, token = advance(state, window, batches, n)
        jax.block_until_ready(token)

    return rate(call, CALL * BATCH * count, calls=10), communicated(text)


def _with(count: int, contender: Callable[[], float]) -> Callable[[], float]:
    """A contender in a process that sees so many simulated devices."""

    def measure() -> float:
        with mock.patch.dict(os.environ, XLA_FLAGS=f"--xla_force_host_platform_device_count={count}"):
            return alone(contender)()

    return measure


def main(*, rounds: int = 3, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures all in alternation.

    Args:
      rounds: the number of processes of each.
      json_file: file that the tables are added to.
    """
    ways: dict[str, dict[str, Any]] = {
        "mesh": {"kind": "jit"},
        "fsdp": {"kind": "jit", "cut": True},
        "pmap": {"kind": "pmap"},
    }
    cases = {(name, count): how for name, how in ways.items() for count in COUNTS}
    title = "VAE 784-200-200-50, batch 100 a device"
    speeds = {f"{name}, {n} devices": _with(n, partial(examples_per_second, **how)) for (name, n), how in cases.items()}
    report(f"{title}: simulated devices on the same cores", "examples/s", pair(speeds, rounds=rounds), json_file)
    bytes_of = {f"{name}, {n} devices": _with(n, partial(kilobytes, **how)) for (name, n), how in cases.items() if n > 1}
    report(f"{title}: received by a device in a step", "kB", pair(bytes_of, rounds=1), json_file)


if __name__ == "__main__":
    tyro.cli(main)
