"""Rows of a set on the devices of this host, block by block: each device has its part of a block, or all have the whole.

A program whose rows are independent then runs on every device at once, without communication.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

AXIS = "rows"


def spans(n: int, size: int) -> list[slice]:
    """The rows of a set, cut into blocks that the devices can share alike.

    Args:
      n: the number of rows.
      size: the number of rows on a device at a time.

    Returns:
      Blocks of at most `size` for each device; what does not divide by their number is a last one by itself.

    >>> [(block.start, block.stop) for block in spans(0, 4)]
    []
    """
    devices = len(jax.local_devices())
    even = n - n % devices
    blocks = [slice(start, min(start + size * devices, even)) for start in range(0, even, size * devices)]
    return [*blocks, slice(even, n)] if even < n else blocks


def cut(x: Shaped[np.ndarray, "n ..."]) -> Shaped[Array, "n ..."]:
    """The rows, cut over all devices of this host; the whole on each where they do not divide."""
    mesh = _mesh()
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(AXIS if len(x) % mesh.size == 0 else None)))


def whole(x: Shaped[np.ndarray, "..."]) -> Shaped[Array, "..."]:
    """An array, whole on each device of this host."""
    return jax.device_put(x, NamedSharding(_mesh(), PartitionSpec()))


def per_device(program: Callable[..., Any], *blocks: Array) -> Any:
    """A program on each device's own rows, where XLA would gather them all although rows know nothing of each other: `top_k`.

    Args:
      program: a pure function of blocks as `cut` or `whole` gives them; row i of what it returns is of row i of those that are
        cut.
      *blocks: the blocks that the program is given.

    Returns:
      The rows that the program returns, cut over the devices as the blocks are.
    """
    return _apart(program, _mesh(), tuple(_spec(block) for block in blocks))(*blocks)


@cache
def _apart(program: Callable[..., Any], mesh: Mesh, specs: tuple[PartitionSpec, ...]) -> Callable[..., Any]:
    out = PartitionSpec(AXIS if any(AXIS in spec for spec in specs) else None)
    return jax.jit(jax.shard_map(program, mesh=mesh, in_specs=specs, out_specs=out))


def _spec(block: Array) -> PartitionSpec:
    assert isinstance(block.sharding, NamedSharding), "`cut` and `whole` give no other"
    return block.sharding.spec


def _mesh() -> Mesh:
    return Mesh(np.array(jax.local_devices()), (AXIS,))
