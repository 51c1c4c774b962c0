"""A model's samples in chunks of one size: memory is bounded, and the first samples do not depend on how many follow."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgen.devices.waiting import wait
from jaxgen.progress import Track
from jaxgen.progress import track as show
from jaxgen.samples.conditions import Conditions, given
from jaxgen.types import Array, Batch, Key, PyTree

Sample = Callable[[Any, Key, Batch], Array]
"""`sample(state, key, given)`: images `[n, H, W, C]` in [0, 1], or points `[n, D]`, as many as `given` has rows."""


def chunks(
    sample: Sample,
    state: PyTree,
    key: Key,
    n: int,
    *,
    size: int,
    name: str,
    conditions: Conditions | None = None,
    track: Track = show,
) -> Iterator[np.ndarray]:
    """Draws n samples, chunk by chunk; each device of this host draws chunks of its own.

    Args:
      sample: a function that draws from a model; it is traced where there are several devices.
      state: the state of the model.
      key: the key of the draw; the i-th chunk is drawn with `fold_in(key, i)`.
      n: the number of samples.
      size: samples in a chunk. What is drawn depends on it, and does not depend on n.
      name: the name of the model, for the progress bar.
      conditions: the conditions of the samples; None for a model without conditions.
      track: a function that shows the progress.

    Yields:
      Samples in order, n altogether: a chunk from every device at a time.
    """
    # Several hosts have the state in common, and draw alike.
    devices = jax.local_devices()[: -(-n // size) if jax.process_count() == 1 else 1]
    draw, together = _on_each(devices, sample, state), len(devices) * size
    for start in track(range(0, n, together), description=f"samples of {name}", total=-(-n // together)):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(devices)) + start // size)
        # Whole chunks, of which the last may be used in part or not at all: what is drawn does not depend on n.
        yield np.asarray(wait(draw(keys, given(together, conditions, start=start))))[: n - start]


def _on_each(devices: Sequence[jax.Device], sample: Sample, state: PyTree) -> Callable[[Key, Batch], Array]:
    """A chunk for each of as many keys as there are devices, each drawn on one of them as if there were no other."""

    def one(state: PyTree, keys: Key, given: Batch) -> Array:
        return sample(state, keys[0], given)

    if len(devices) == 1:
        return partial(one, state)
    mesh = Mesh(np.array(devices), ("chunks",))
    # The check forbids loops that begin with zeros, the same on all devices, and go on with what is not.
    several = jax.jit(
        jax.shard_map(one, mesh=mesh, in_specs=(P(), P("chunks"), P("chunks")), out_specs=P("chunks"), check_vma=False)
    )
    return partial(several, jax.device_put(state, NamedSharding(mesh, P())))
