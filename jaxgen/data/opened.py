"""Which sets an experiment opened: on record with a run, and what stands in for them where they are not at hand."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from jaxgen.data.source import Source, contents
from jaxgen.errors import UserError


class DataError(UserError):
    """A set that an experiment wants cannot be opened."""


class Opened(NamedTuple):
    """A source that was opened by its name.

    Fields:
      dataset: the name that was asked for, `mnist` or a folder.
      split: of the set.
      source: what was opened.
    """

    dataset: str
    split: str
    source: Source


class _Replay:
    """Hands out stand-ins, in the order in which the sources were opened."""

    def __init__(self, record: Sequence[Mapping[str, Any]], why: str, fill: int) -> None:
        self._record, self.why, self._fill, self.building = list(record), why, fill, True

    def next(self, dataset: str, split: str) -> Source:
        told = self._record.pop(0) if self._record else {"split": None}
        if told["split"] != split:
            raise UserError(self.why)
        return self._source(told)

    def _source(self, told: Mapping[str, Any]) -> Source:
        def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
            # While an experiment is built it looks at shapes and keeps examples to show, which are then never shown.
            numeric = all(np.dtype(dtype).kind in "biuf" for dtype, _ in told["features"].values())
            if not self.building or not numeric:
                raise UserError(self.why)
            return {f: np.full((len(indices), *shape), self._fill, dtype) for f, (dtype, shape) in told["features"].items()}

        classes = {feature: tuple(names) for feature, names in told["classes"].items()}
        return Source(told["name"], told["contents"], told["length"], gather, classes)


_collecting: ContextVar[list[Opened] | None] = ContextVar("collecting", default=None)
_replaying: ContextVar[_Replay | None] = ContextVar("replaying", default=None)


def opened(dataset: str, split: str, open_: Callable[[], Source]) -> Source:
    """Opens a source by a function, or takes its stand-in, and notes it where `collected` asks for that.

    Raises:
      DataError: if the function raises a `UserError`.
    """
    replay = _replaying.get()
    if replay is not None:
        source = replay.next(dataset, split)
    else:
        try:
            source = open_()
        except UserError as error:
            raise DataError(str(error)) from error
    collecting = _collecting.get()
    if collecting is not None:
        collecting.append(Opened(dataset, split, source))
    return source


@contextlib.contextmanager
def collected() -> Iterator[list[Opened]]:
    """A list of what is opened while the context lasts."""
    found: list[Opened] = []
    token = _collecting.set(found)
    try:
        yield found
    finally:
        _collecting.reset(token)


@contextlib.contextmanager
def replayed(record: Sequence[Mapping[str, Any]], why: str, *, fill: int) -> Iterator[None]:
    """While the context lasts, what is opened is a stand-in with the recorded shapes and classes.

    Its examples are full of one number while the context lasts, and refused afterwards.

    Args:
      record: as `described` gave it, of every source in order.
      why: the sentence of the refusal.
      fill: the number.
    """
    replay = _Replay(record, why, fill)
    token = _replaying.set(replay)
    try:
        yield
    finally:
        _replaying.reset(token)
        replay.building = False


def described(one: Opened) -> dict[str, Any]:
    """What a run records of a source, as JSON: enough to build its experiment again, and to know the same examples again."""
    source = one.source
    example = source.gather(np.zeros(1, np.int64))
    return {
        "dataset": one.dataset,
        "split": one.split,
        "name": source.name,
        "length": source.length,
        "contents": contents(source),
        "features": {feature: [a.dtype.str, list(a.shape[1:])] for feature, a in example.items()},
        "classes": {feature: list(names) for feature, names in source.classes.items()},
    }


def difference(record: Sequence[Mapping[str, Any]], found: Sequence[Opened]) -> str | None:
    """How the sources that were found differ from those on record, or None where they hold the same examples.

    Where they lie and what they are called is no difference.
    """
    for told, one in zip(record, found, strict=False):
        source = one.source
        if told["length"] != source.length:
            return f"{source.name} has {source.length:,} examples, and the run's {told['name']} had {told['length']:,}"
        if told["contents"] != contents(source):
            return f"the examples of {source.name} are not those of the run's {told['name']}"
    return None
