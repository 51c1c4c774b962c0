"""What training truly consumed: the examples that the compiled step was given, and the keys it gave them."""

from typing import Any

import jax
import numpy as np
from jax.experimental import io_callback

import jaxgen


class Consumed:
    """A stream that notes, from inside the compiled step, which examples came through under which key.

    A step has a key of its own, so that equal logs mean: the same examples, in the same steps, with the same randomness, each
    step once. The callback is not an ordered one, which a mesh does not have; the slots put the parts of a batch in order.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._notes: list[tuple[str, bytes, list[int], list[int]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def transform(self, batch: Any, key: jax.Array) -> Any:
        parts = {"": batch} if "index" in batch else batch
        for name, part in parts.items():
            io_callback(self._noting(name), None, jax.random.key_data(key), part["slot"], part["index"])
        return self.stream.transform(batch, key)

    def _noting(self, name: str) -> Any:
        def note(key: Any, slots: Any, ids: Any) -> None:
            self._notes.append((name, np.asarray(key).tobytes(), np.asarray(slots).tolist(), np.asarray(ids).tolist()))

        return note

    def take(self) -> dict[tuple[str, bytes], list[tuple[int, int]]]:
        """The log since it was last taken: by stream and step's key, the pairs of slot and example.

        It goes stream by stream, each in the order of the steps.

        A step that was taken twice has every slot twice.
        """
        jax.effects_barrier()
        log: dict[tuple[str, bytes], list[tuple[int, int]]] = {}
        for name, key, slots, ids in self._notes:
            log.setdefault((name, key), []).extend(zip(slots, ids, strict=True))
        self._notes.clear()
        # Stream by stream: within a step, which stream's callback comes first is nobody's choice.
        return {step: sorted(pairs) for step, pairs in sorted(log.items(), key=lambda item: item[0][0])}


def watched(experiment: jaxgen.Experiment) -> jaxgen.Experiment:
    """The experiment with a stream that notes what is consumed."""
    return experiment._replace(train=Consumed(experiment.train))


def ids(log: dict[tuple[str, bytes], list[tuple[int, int]]], name: str = "") -> list[list[int]]:
    """The examples of one stream, step by step, in the order of their slots."""
    return [[i for _, i in pairs] for (stream, _), pairs in log.items() if stream == name]
