"""Shuffled batches of 100 images of 28x28 against PyTorch's DataLoader: from memory, and from the cache on disk.

python -m experiments.benchmarks.peers.loading --json loading.json      # 2 minutes on 2 cores
"""

import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from experiments.benchmarks.alone import alone, rate
from experiments.benchmarks.pairing import pair, report
from jaxgen import data

EXAMPLES, BATCH, CHUNK = 60_000, 100, 20


def images() -> np.ndarray:
    """Noise of MNIST's size."""
    return np.random.default_rng(0).integers(0, 256, (EXAMPLES, 28, 28, 1)).astype(np.uint8)


def _epochs(source: data.Source) -> float:
    stream = data.shuffled(source, BATCH, data.scale())
    position = 0

    def epoch() -> None:
        nonlocal position
        for _ in range(EXAMPLES // BATCH // CHUNK):
            stream.read(position, seed=0, steps=CHUNK)
            position += CHUNK

    return rate(epoch, EXAMPLES, calls=3, warm=1)


def memory() -> float:
    """Examples a second of a stream from memory, which reads the batches of a call at once."""
    return _epochs(data.from_arrays({"image": images()}, name="noise", fingerprint="noise"))


def cache() -> float:
    """Examples a second of a stream from the memory-mapped cache."""
    source = data.from_arrays({"image": images()}, name="noise", fingerprint="noise")
    with tempfile.TemporaryDirectory() as folder:
        return _epochs(data.cached(source, folder=Path(folder)))


def peer(workers: int = 0) -> float:
    """Examples a second of a DataLoader over a tensor of bytes; each batch is scaled to floats."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(torch.from_numpy(images())), BATCH, shuffle=True, num_workers=workers)

    def epoch() -> None:
        for (batch,) in loader:
            batch.float().div_(255)

    return rate(epoch, EXAMPLES, calls=3, warm=1)


def main(*, rounds: int = 5, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures all in alternation.

    Args:
      rounds: the number of processes of each.
      json_file: file that the table is added to.
    """
    contenders = {
        "DataLoader in the process": alone(peer),
        "jaxgen, from memory": alone(memory),
        "jaxgen, from the cache": alone(cache),
    }
    report("shuffled batches of 100 images of 28x28", "examples/s", pair(contenders, rounds=rounds), json_file)


if __name__ == "__main__":
    tyro.cli(main)
