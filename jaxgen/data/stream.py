"""The stream of batches: a pure function of the seed and the position, so that saving a position saves everything."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import grain
import jax
import numpy as np

from jaxgen.data.source import Source
from jaxgen.data.transforms import Transform, identity
from jaxgen.errors import UserError
from jaxgen.types import Array, Batch, Key


class Stream(Protocol):
    """The methods of a stream that the loop calls; `shuffled` and `join` make streams."""

    @property
    def batch_size(self) -> int:
        """Examples in a global batch."""

    @property
    def names(self) -> tuple[str, ...]:
        """The sources' names, for messages."""

    @property
    def fingerprint(self) -> str:
        """A hash that changes when the examples do."""

    @property
    def epoch_steps(self) -> float:
        """Batches in an epoch."""

    def read(self, position: int, *, seed: int, steps: int = 1, shard: tuple[int, int] = (0, 1)) -> dict[str, Any]:
        """The batches `position .. position + steps - 1`, arrays `[steps, B / shards, ...]` on the host."""

    def transform(self, batch: Batch, key: Key) -> Batch:
        """Transforms a batch on the device, inside the compiled step."""


class Shuffled(NamedTuple):
    """Shuffled epochs of one source, one after another without a gap: a batch may span two."""

    source: Source
    batch_size: int
    example_transform: Transform

    @property
    def names(self) -> tuple[str, ...]:
        return (self.source.name,)

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    @property
    def epoch_steps(self) -> float:
        return self.source.length / self.batch_size

    def indices(self, position: int, *, seed: int, steps: int = 1) -> np.ndarray:
        """The numbers of the examples in the batches at `position`, `[steps, B]`: a permutation of the source each epoch."""
        n = self.source.length
        count = np.arange(position * self.batch_size, (position + steps) * self.batch_size, dtype=np.int64)
        epochs, offsets = np.divmod(count, n)
        chosen = np.empty_like(count)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = _permutation(seed, int(epoch), n)[offsets[here]]
        return chosen.reshape(steps, self.batch_size)

    def read(self, position: int, *, seed: int, steps: int = 1, shard: tuple[int, int] = (0, 1)) -> dict[str, Any]:
        host, hosts = shard
        local, rest = divmod(self.batch_size, hosts)
        if rest:
            raise UserError(
                f"A batch of {self.batch_size} examples cannot be cut for {hosts} hosts; give a multiple of {hosts}."
            )
        slots = np.arange(host * local, (host + 1) * local)
        indices = self.indices(position, seed=seed, steps=steps)[:, slots]
        rows = _numeric(self.source.gather(indices.reshape(-1)))
        batch = {feature: a.reshape(steps, local, *a.shape[1:]) for feature, a in rows.items()}
        slots = np.broadcast_to(slots.astype(np.int32), (steps, local))
        return {**batch, "index": indices.astype(np.int32), "slot": slots}

    def transform(self, batch: Batch, key: Key) -> Batch:
        slots = batch["slot"]
        example = {feature: a for feature, a in batch.items() if feature != "slot"}
        return {**apply_transform(self.example_transform, example, key, slots), "slot": slots}


class Joined(NamedTuple):
    """Independent streams side by side: the batch at a position holds each stream's batch at that position."""

    streams: Mapping[str, Shuffled]

    @property
    def batch_size(self) -> int:
        return sum(s.batch_size for s in self.streams.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for s in self.streams.values() for name in s.names)

    @property
    def fingerprint(self) -> str:
        return "+".join(s.fingerprint for s in self.streams.values())

    @property
    def epoch_steps(self) -> float:
        return max(s.epoch_steps for s in self.streams.values())

    def read(self, position: int, *, seed: int, steps: int = 1, shard: tuple[int, int] = (0, 1)) -> dict[str, Any]:
        # A seed each: two streams over one source would otherwise be paired.
        return {
            name: stream.read(position, seed=seed + 7919 * i, steps=steps, shard=shard)
            for i, (name, stream) in enumerate(self.streams.items())
        }

    def transform(self, batch: Batch, key: Key) -> Batch:
        return {
            name: stream.transform(batch[name], jax.random.fold_in(key, i))
            for i, (name, stream) in enumerate(self.streams.items())
        }


def shuffled(source: Source, batch_size: int, transform: Transform = identity) -> Shuffled:
    """An endless stream: each epoch is a new permutation of the source, drawn from the run's seed.

    Args:
      source: the examples.
      batch_size: the number of examples B in the global batch over all devices and hosts.
      transform: a function `(example, key) -> example`, which is applied on the device with a key of its own for every example.

    Returns:
      The stream, whose batches have the source's numeric features, `index` `[B]`, the examples' numbers in the source, and
      `slot` `[B]`, their places in the global batch.

    Raises:
      UserError: if the batch size is below one.
    """
    if batch_size < 1:
        raise UserError(f"A batch size of {batch_size} holds no example; give 1 or more.")
    return Shuffled(source, batch_size, transform)


def join(**streams: Shuffled) -> Joined:
    """A stream of batches `{name: batch of that stream}`: two unpaired domains, or labelled and unlabelled examples."""
    return Joined(streams)


class InOrder:
    """The batches of one pass, each read when it is asked for."""

    def __init__(self, source: Source, batch_size: int) -> None:
        self._source, self._batch_size = source, batch_size

    def __len__(self) -> int:
        return -(-self._source.length // self._batch_size)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        indices = np.arange(i * self._batch_size, (i + 1) * self._batch_size)
        mask = (indices < self._source.length).astype(np.float32)
        indices = np.minimum(indices, self._source.length - 1)
        return {**_numeric(self._source.gather(indices)), "index": indices.astype(np.int32), "mask": mask}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self[i] for i in range(len(self)))


def in_order(source: Source, batch_size: int) -> InOrder:
    """One pass for an evaluation: every example once, the last batch padded and `mask` 0 there.

    >>> from jaxgen.data import from_arrays
    >>> [b["mask"].tolist() for b in in_order(from_arrays({"x": np.arange(3)}), 2)]
    [[1.0, 1.0], [1.0, 0.0]]
    """
    return InOrder(source, batch_size)


def examples(source: Source, n: int, transform: Transform = identity) -> dict[str, Array]:
    """The first n examples as an evaluation sees them, to show the same ones at every step."""
    batch = in_order(source, min(n, source.length))[0]
    return dict(apply_transform(transform, batch, jax.random.key(0), batch["index"]))


def apply_transform(transform: Transform, batch: Batch, key: Key, ids: Any) -> Batch:
    """Applies a transform to every example of a batch, the example i with the key `fold_in(key, ids[i])`.

    A key belongs to an example and not to a batch: what is drawn does not depend on how a batch is cut over devices.
    """
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(ids)
    return jax.vmap(transform)(dict(batch), keys)


def prefetch(read: Callable[[Any], Any], items: Iterable[Any], *, threads: int = 2, depth: int = 2) -> Iterator[Any]:
    """Reads ahead of the loop in grain's threads: `read(item)` for each item, in order.

    Args:
      read: a function that reads one chunk of batches.
      items: the chunks to read; those of a sequence are taken by the threads as well.
      threads: the number of chunks that are read at the same time.
      depth: the number of chunks that are read ahead and wait.

    Returns:
      An iterator over the chunks.
    """
    chunks: Any = items if hasattr(items, "__getitem__") else list(items)

    class Chunks:
        def __len__(self) -> int:
            return len(chunks)

        def __getitem__(self, i: int) -> Any:
            return read(chunks[i])

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(depth, threads))
    return iter(grain.MapDataset.source(Chunks()).to_iter_dataset(options))


def _numeric(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    # Text stays on the host: a device holds numbers. A transform on the host turns it into tokens.
    return {name: a for name, a in features.items() if a.dtype.kind in "biuf"}


@functools.lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)
