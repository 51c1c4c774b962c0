"""The rule that says which of a run's checkpoints are kept when a new one is saved."""

from collections.abc import Callable, Sequence
from typing import Any


class Preserved:
    """The answer to orbax's question, which checkpoints to keep: the last ones, the best, and those that are kept for good.

    Args:
      keep: the number of last checkpoints to keep.
      every: the number whose multiples are the steps that are kept for good; None is none.
      best: the function that gives the step of the best checkpoint, if there is one.

    Attributes:
      marked: the steps whose checkpoints say of themselves that they are kept for good.
    """

    def __init__(self, keep: int, every: int | None, best: Callable[[], int | None]) -> None:
        self._keep, self._every, self._best = keep, every, best
        self.marked: set[int] = set()

    def for_good(self, step: int) -> bool:
        """Whether the checkpoint of a step is kept for good."""
        return step in self.marked or (self._every is not None and step % self._every == 0)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Whether to keep each of the checkpoints."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*sorted(steps)[-self._keep :], self._best()}
        return [step in kept or self.for_good(step) for step in steps]


def listed(steps: Sequence[int]) -> str:
    """Steps as a sentence names them; of many the first and the last ones.

    >>> listed([500, 1000]), listed(range(1000, 100_000, 1000))
    ('500, 1,000', '1,000, 2,000, 3,000, ..., 97,000, 98,000, 99,000')
    """
    told = [f"{step:,}" for step in steps]
    return ", ".join(told if len(told) <= 12 else [*told[:3], "...", *told[-3:]])
