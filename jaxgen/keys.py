"""Random keys: the numbers that are folded into them, and a separate key for every example of a batch.

A number that is drawn with an example's key belongs to the example: it is the same number however the batch around it is cut,
over devices, into micro-batches, or by the batch size of an evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.devices import collectives
from jaxgen.types import Array, Batch, Key

PARAMETERS, STEPS, SAMPLE, EVALUATE, DRAW = 0, 1, 2, 3, 4
"""The numbers folded into the key of a run's seed: for the initial parameters, the steps, samples, evaluations and pictures."""

DATA = 1 << 30
"""The number folded into a step's key for the stream's transforms; the players fold in 0, 1, 2 ..."""

WHOLE = DATA + 1
"""The number folded into a step's key for what is drawn once for the global batch, on all replicas and in all micro-batches."""

HELD_OUT = 1 << 60
"""The number that joins a seed for the choice of the held-out examples; the orders of epochs have 0, 1, 2 ... there."""

LATENTS = 1 << 29
"""The number folded into the key of an example for the draw of its latents; objectives fold in 0, 1, 2 ..."""

COUPLED = LATENTS + 1
"""The number folded into the key of an example for the noise that its data are made from."""

TRANSFORM, NOISE = 0, 1
"""The numbers folded into an evaluation's key: for the transforms of the examples, and for the draws of a measure."""

Sampler = Callable[[Key, Sequence[int]], Array]
"""`sampler(key, shape) -> [*shape]`, such as `jax.random.normal`."""


def by_example(key: Key, batch: Batch) -> dict[str, Any]:
    """The batch with a key for each of its examples, `batch["key"]`, `[B]`.

    The key of an example is `fold_in(key, slot)`, where `batch["slot"]` is the example's place in the global batch; without it
    the rows are counted. Of a batch of several streams, `{name: batch}`, each stream gets keys of its own.

    Args:
      key: the key that the examples' keys are folded from.
      batch: features `[B, ...]` by name, or such batches by the name of their stream.

    Returns:
      The batch with its keys; an empty one stays empty.

    >>> by_example(jax.random.key(0), {"x": jnp.zeros((3, 2))})["key"].shape
    (3,)
    """
    if not batch:  # a loss of the parameters alone has no examples
        return {}
    streams = sorted(name for name, part in batch.items() if isinstance(part, Mapping))
    if streams:
        return {**batch, **{name: by_example(jax.random.fold_in(key, i), batch[name]) for i, name in enumerate(streams)}}
    slots = batch.get("slot")
    if slots is None:
        rows = jax.tree.leaves(dict(batch))[0]
        slots = collectives.offset(rows) + jnp.arange(rows.shape[0])
    return {**batch, "key": jax.vmap(lambda slot: jax.random.fold_in(key, slot))(slots)}


def per_example(key: Key, batch: Batch) -> Key:
    """The keys of a batch's examples, `[B]`: those that the batch brings, or else those that `by_example` makes of `key`.

    An objective draws with them, so that its noise belongs to the examples:

    >>> batch = {"x": jnp.zeros((3, 2))}
    >>> noise = draw(jax.random.normal, per_example(jax.random.key(0), batch), batch["x"].shape)
    >>> alone = draw(jax.random.normal, per_example(jax.random.key(0), batch)[2:], (1, 2))
    >>> bool((noise[2:] == alone).all())
    True

    Args:
      key: the key that the loss was given.
      batch: the batch that it was given; of several streams, the part of one of them.

    Returns:
      A key for each example.
    """
    return batch["key"] if "key" in batch else by_example(key, batch)["key"]


def fold_in(key: Key, number: int | Array) -> Key:
    """`jax.random.fold_in` of one key, or of each key of an array."""
    fold = jax.random.fold_in
    for _ in range(key.ndim):
        fold = jax.vmap(fold, in_axes=(0, None))
    return fold(key, number)


def draw(sampler: Sampler, key: Key, shape: Sequence[int], *, axis: int = 0) -> Array:
    """An array of random numbers, by one key or by a key for each example.

    Args:
      sampler: a function that draws an array of a shape with one key.
      key: the key or the keys: one key, which draws the whole array; or keys `[B]`, each of which draws one example's part.
      shape: the shape of the result.
      axis: the axis of the shape along which the B examples lie.

    Returns:
      The array.

    >>> draw(jax.random.normal, jax.random.split(jax.random.key(0), 3), (5, 3, 2), axis=1).shape
    (5, 3, 2)
    """
    if key.ndim == 0:
        return sampler(key, tuple(shape))
    part = (*shape[:axis], *shape[axis + 1 :])
    return jax.vmap(lambda key: sampler(key, part), out_axes=axis)(key)


def of_batch(key: Key) -> Key:
    """One key for what is drawn for a whole batch, as a layer's dropout is: the key itself, or the first example's."""
    return key if key.ndim == 0 else key[0]
