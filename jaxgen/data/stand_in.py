"""Stand-ins for sources that are not available: with the shapes and classes on a run's record, and without examples."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from jaxgen.data.source import Opened, Source
from jaxgen.errors import UserError


class DataError(UserError):
    """A set that an experiment wants cannot be opened."""


class _Replay:
    """Hands out stand-ins, in the order in which the sources were opened."""

    def __init__(self, record: Sequence[Mapping[str, Any]], why: str, fill: int) -> None:
        # Sources that were not opened by a name are made anew, by the experiment itself.
        self._record = [told for told in record if told["split"] is not None]
        self.why, self._fill, self.building = why, fill, True

    def next(self, split: str) -> Source:
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
        return Source(told["name"], told["fingerprint"], told["length"], gather, classes, told["digest"])


_replaying: ContextVar[_Replay | None] = ContextVar("replaying", default=None)


def stand_in(split: str) -> Source | None:
    """The stand-in of the next source that was opened by its name, within `replayed`; None elsewhere."""
    replay = _replaying.get()
    return None if replay is None else replay.next(split)


@contextlib.contextmanager
def replayed(record: Sequence[Mapping[str, Any]], why: str, *, fill: int) -> Iterator[None]:
    """While the context lasts, what is opened is a stand-in with the recorded shapes and classes.

    Its examples are full of one number while the context lasts, and refused afterwards.

    Args:
      record: the descriptions that `described` gave, one for every source, in order.
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
    """The record of a source, as JSON: enough to build its experiment again, and to recognise the same examples."""
    source = one.source
    example = source.gather(np.zeros(1, np.int64))
    return {
        "name": source.name,
        "fingerprint": source.fingerprint,
        "digest": source.digest,
        "split": one.split,
        "length": source.length,
        "features": {feature: [a.dtype.str, list(a.shape[1:])] for feature, a in example.items()},
        "classes": {feature: list(names) for feature, names in source.classes.items()},
    }
