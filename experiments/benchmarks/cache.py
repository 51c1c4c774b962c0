"""Speed at which the memory-mapped cache gives shuffled batches of MNIST's size, on one core.

python -m experiments.benchmarks.cache --json cache.json                # half a minute
"""

import os
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from experiments.benchmarks.pairing import pair, report, seconds
from jaxgen import data

EXAMPLES, BATCH, STEPS = 60_000, 100, 600


def main(*, rounds: int = 7, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures one epoch of each, in alternation.

    Args:
      rounds: epochs of each.
      json_file: file that the table is added to.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {
        "image": rng.integers(0, 256, (EXAMPLES, 28, 28, 1)).astype(np.uint8),
        "label": np.arange(EXAMPLES) % 10,
    }
    with tempfile.TemporaryDirectory() as folder:
        source = data.cached(data.from_arrays(arrays, name="noise", fingerprint="noise"), folder=Path(folder))
        stream = data.shuffled(source, BATCH)
        epoch = iter(range(1_000_000))

        def one_by_one() -> float:
            start = next(epoch) * STEPS
            return EXAMPLES / seconds(lambda: [stream.read(start + i, seed=0) for i in range(STEPS)] and None)

        def chunks() -> float:
            start = next(epoch) * STEPS
            return EXAMPLES / seconds(lambda: [stream.read(start + i, seed=0, steps=20) for i in range(0, STEPS, 20)] and None)

        def prefetched() -> float:
            start = next(epoch) * STEPS
            read = lambda position: stream.read(position, seed=0, steps=20)  # noqa: E731
            return EXAMPLES / seconds(lambda: sum(1 for _ in data.prefetch(read, range(start, start + STEPS, 20))))

        contenders = {"a batch a read": one_by_one, "20 batches a read": chunks, "20 a read, through prefetch": prefetched}
        report("memory-mapped cache, one core", "examples/s", pair(contenders, rounds=rounds), json_file)


if __name__ == "__main__":
    tyro.cli(main)
