"""The best checkpoint: an evaluated value marks it by its minimum or by its maximum."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias


class Largest(NamedTuple):
    """An evaluated value whose maximum marks the best checkpoint, such as an accuracy; of a plain name it is the minimum.

    Fields:
      value: the name of the value, `split/name`, as in `Experiment.best`.
    """

    value: str


Best: TypeAlias = str | Largest


def best_step(best: Best | None, history: Iterable[Mapping[str, Any]], steps: Iterable[int]) -> int | None:
    """The best of the steps: the earliest of those whose value is the smallest, or the largest.

    Args:
      best: the value that marks it; None if no value does.
      history: the reported lines, as in `metrics.jsonl`.
      steps: the steps to choose among.

    Returns:
      The step; None if no step has a finite value.

    >>> lines = [{"step": s, "split": "test", "accuracy": a} for s, a in ((1, 0.5), (2, 0.9), (3, float("nan")), (4, 0.9))]
    >>> [best_step(best, lines, [1, 2, 3, 4]) for best in ("test/accuracy", Largest("test/accuracy"))]
    [1, 2]
    """
    if best is None:
        return None
    values = evaluated(history, _name(best))
    sign = -1 if isinstance(best, Largest) else 1
    return min((s for s in sorted(steps) if s in values), key=lambda s: sign * values[s], default=None)


def described(best: Best) -> str:
    """The value and its direction in words.

    >>> described("test/nll"), described(Largest("test/accuracy"))
    ('the smallest test/nll', 'the largest test/accuracy')
    """
    return f"the {'largest' if isinstance(best, Largest) else 'smallest'} {_name(best)}"


def renamed(best: Best | None, rename: Callable[[str], str]) -> Best | None:
    """The same direction of a value of another name."""
    return None if best is None else Largest(rename(best.value)) if isinstance(best, Largest) else rename(best)


def to_json(best: Best | None) -> str | dict[str, str] | None:
    """The value and its direction as a record holds them; for a minimum the name alone, as in older records."""
    return {"largest": best.value} if isinstance(best, Largest) else best


def from_json(record: Any) -> Best | None:
    """The inverse of `to_json`.

    Raises:
      ValueError: if the record is nothing that `to_json` gives.
    """
    if record is None or isinstance(record, str):
        return record
    if isinstance(record, dict) and record.keys() == {"largest"} and isinstance(record["largest"], str):
        return Largest(record["largest"])
    raise ValueError(f"{record!r} names no value that marks the best checkpoint")


def evaluated(history: Iterable[Mapping[str, Any]], name: str) -> dict[int, float]:
    """The values that `split/name` had, by step, where they are finite."""
    values = {}
    for line in history:
        metric = name.removeprefix(f"{line['split']}/")  # a split may be a domain of one, `test/photos`
        if metric != name and metric in line:
            values[line["step"]] = line[metric]
    return {step: value for step, value in values.items() if type(value) in (int, float) and abs(value) < math.inf}


def _name(best: Best) -> str:
    return best.value if isinstance(best, Largest) else best
