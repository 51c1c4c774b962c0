"""Time that `python -m experiments.vae --help` takes, next to the import of jax alone.

python -m experiments.benchmarks.startup --json startup.json            # half a minute
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import tyro

from experiments.benchmarks.pairing import pair, report, seconds


def main(*, rounds: int = 5, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures whole processes, in alternation.

    Args:
      rounds: processes of each.
      json_file: file that the table is added to.
    """

    def process(*args: str) -> float:
        return seconds(lambda: subprocess.run([sys.executable, *args], check=True, capture_output=True) and None)

    contenders = {
        "python -c 'import jax, flax.linen'": lambda: process("-c", "import jax, flax.linen"),
        "python -m experiments.vae --help": lambda: process("-m", "experiments.vae", "--help"),
        "jaxgen list": lambda: process("-m", "jaxgen", "list"),
    }
    report("start-up", "s", pair(contenders, rounds=rounds), json_file)


if __name__ == "__main__":
    tyro.cli(main)
