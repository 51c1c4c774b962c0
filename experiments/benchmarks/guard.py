"""The cost of checks that a saved state is finite, and of its hashes, when all is well; 784-200-200-50 VAE, batch 100.

python -m experiments.benchmarks.guard --json guard.json          # 2 to 4 minutes on 2 cores

A run looks at its metrics when it logs them and at its state when it saves, and hashes what it saves. The step that was not
finite is found afterwards, by repeating: nothing is added to a step, unless steps may be skipped.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import tyro

import jaxgen
from experiments.benchmarks.overhead import experiment
from experiments.benchmarks.pairing import pair, report
from jaxgen import hashes
from jaxgen.training import not_finite


def main(*, steps: int = 5000, rounds: int = 5, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measures the share of a run's time that its guards take, and in alternation a run that may skip steps.

    Args:
      steps: steps of a run; it is saved every 1,000.
      rounds: the number of runs of each.
      json_file: file that the tables are added to.
    """
    shares = []

    def rate(**options: Any) -> Callable[[], float]:
        def measure() -> float:
            with tempfile.TemporaryDirectory() as folder, stopwatch() as spent:
                run = jaxgen.fit(experiment(steps), workdir=folder, quiet=True, **options)
            # The first window pays for compilation, which is no step.
            rates = [line["examples_per_second"] for line in run.history][1:]
            shares.append(100 * spent[0] / (steps * run.experiment.train.batch_size * sum(1 / r for r in rates) / len(rates)))
            return len(rates) / sum(1 / r for r in rates)

        return measure

    results = pair({"a run": rate(), "a run that may skip steps": rate(skip_not_finite=1)}, rounds=rounds)
    report("steps with their guards", "examples/s", results, json_file)
    shares.sort()
    row = {"median": shares[len(shares) // 2], "min": shares[0], "max": shares[-1], "ratio": 1.0}
    report("guards at the saves, of the steps' time", "%", {"looking and hashing": row}, json_file)


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """The seconds spent on looking for what is not finite and on hashing, in a list of one."""
    spent = [0.0]

    def timed(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def wrapped(tree: Any) -> Any:
            start = time.perf_counter()
            result = function(tree)
            spent[0] += time.perf_counter() - start
            return result

        return wrapped

    with ExitStack() as patches:
        for module, name in ((not_finite, "first_bad"), (hashes, "leaves")):
            patches.enter_context(mock.patch.object(module, name, timed(getattr(module, name))))
        yield spent


if __name__ == "__main__":
    tyro.cli(main)
