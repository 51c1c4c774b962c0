"""Time to the first step of the default experiment, cold and with JAX's cache on disk, and its memory.

python -m experiments.benchmarks.first_step --json first_step.json      # 4 minutes on 2 cores
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from experiments.benchmarks.alone import alone
from experiments.benchmarks.pairing import pair, report

EXAMPLES, STEPS = 60_000, 2_000

FIRST_STEP = """
import jaxgen
from experiments import vae

made = vae.experiment()
jaxgen.fit(made._replace(evaluators={}, final={}, pictures={}, steps=1), quiet=True)
"""


def first_step(**environment: str) -> Callable[[], float]:
    """Seconds from the start of Python to the end of the first step; nothing is evaluated or drawn.

    Args:
      **environment: variables of the process's environment.
    """

    def measure() -> float:
        start = time.perf_counter()
        process = [sys.executable, "-c", FIRST_STEP]
        subprocess.run(process, check=True, capture_output=True, env={**os.environ, **environment})
        return time.perf_counter() - start

    return measure


def peak_memory() -> float:
    """Megabytes of memory that a VAE on images of MNIST's size held at most: trained, evaluated and drawn."""
    with tempfile.TemporaryDirectory() as folder:
        images = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 28, 28, 1)).astype(np.uint8)
        np.savez(f"{folder}/noise.npz", image=images)
        subprocess.run(
            [
                *[sys.executable, "-m", "experiments.vae", "--dataset", f"{folder}/noise.npz", "--split", "0.9"],
                *["--steps", str(STEPS), "--workdir", f"{folder}/run"],
            ],
            check=True,
            capture_output=True,
        )
    # The greatest of all that has been waited for, in KiB on Linux: this process has waited for no other.
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main(*, rounds: int = 5, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures whole processes, in alternation.

    Args:
      rounds: processes of each.
      json_file: file that the tables are added to.
    """
    with tempfile.TemporaryDirectory() as cache:
        kept = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        contenders = {"compiled anew": first_step(), "from JAX's cache on disk": first_step(**kept)}
        report("the default VAE, to the end of its first step", "s", pair(contenders, rounds=rounds), json_file)
    memory = pair({"python -m experiments.vae": alone(peak_memory)}, rounds=1)
    report(f"peak memory, VAE on {EXAMPLES:,} images of 28x28", "MiB", memory, json_file)


if __name__ == "__main__":
    tyro.cli(main)
