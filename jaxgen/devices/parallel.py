"""Two ways to run a step: `jit` over a mesh of one device or many, or `pmap` over replicas; on one host or several.

The step is the same function each time. Under `jit` it sees the global batch, and XLA cuts the work; under `pmap` it sees its
replica's part, and what looks across examples goes through `jaxgen.devices.collectives`.
"""

from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgen.devices import collectives
from jaxgen.errors import UserError
from jaxgen.types import Array, PyTree

T = TypeVar("T")

SHARDED = ("params", "opt", "ema", "more_ema")
"""The fields of a state that the fsdp axis cuts."""

SMALL = 1 << 10
"""The number of elements below which a leaf stays whole: to gather it would cost more than it saves."""


class Parallel(Protocol):
    """The methods of a way to run that the loop calls."""

    @property
    def devices(self) -> int:
        """The number of devices, of all hosts, that a batch is cut over."""

    def compile(self, advance: Callable[..., Any], state: PyTree, window: PyTree) -> Callable[..., Any]:
        """`(state, window, batches, n, first) -> (state, window, token)`, compiled; it takes the first two arguments over."""

    def place(self, tree: T) -> T:
        """A state or a window, the same on every host, on its devices."""

    def feed(self, batches: PyTree, n: Any) -> tuple[PyTree, Array]:
        """This host's rows of a chunk of batches, `[chunk, B / hosts, ...]`, on their devices."""

    def number(self, n: int) -> Array:
        """A whole number on the devices, as an argument of what `compile` made."""

    def spec(self, tree: PyTree) -> PyTree:
        """Shapes and dtypes with the shardings that a checkpoint is restored to."""

    def to_disk(self, tree: T) -> T:
        """A state as a checkpoint keeps it, once."""

    def to_view(self, tree: T) -> T:
        """A state as evaluators and pictures take it, once, and readable on every host."""


class Jit(NamedTuple):
    """`jit` over a mesh: the batch is cut over all of its devices, parameters and optimizers over its `fsdp` axis."""

    mesh: Mesh

    @property
    def devices(self) -> int:
        return self.mesh.size

    def compile(self, advance: Callable[..., Any], state: PyTree, window: PyTree) -> Callable[..., Any]:
        # The output lies as the input does; XLA is free to choose everything between.
        out = (self._shardings(state), self._shardings(window), self._whole)
        return jax.jit(advance, donate_argnums=(0, 1), out_shardings=out)

    def place(self, tree: T) -> T:
        return jax.tree.map(_put, tree, self._shardings(tree))

    def feed(self, batches: PyTree, n: Any) -> tuple[PyTree, Array]:
        rows = NamedSharding(self.mesh, P(None, self.mesh.axis_names))
        if jax.process_count() == 1:
            return jax.device_put(batches, rows), self.number(n)
        return jax.make_array_from_process_local_data(rows, batches), self.number(n)

    def number(self, n: int) -> Array:
        return _put(np.int32(n), self._whole)

    def spec(self, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, self._shardings(tree))

    def to_disk(self, tree: T) -> T:
        return tree

    def to_view(self, tree: T) -> T:
        return tree if jax.process_count() == 1 else jax.device_put(tree, self._whole)

    @property
    def _whole(self) -> NamedSharding:
        return NamedSharding(self.mesh, P())

    def _shardings(self, tree: PyTree) -> PyTree:
        parts = self.mesh.shape["fsdp"]

        def sharding(path: tuple[Any, ...], x: Any) -> NamedSharding:
            cut = parts > 1 and getattr(path[0], "name", None) in SHARDED and int(np.prod(x.shape)) >= SMALL
            return NamedSharding(self.mesh, _cut(x.shape, parts) if cut else P())

        return jax.tree.map_with_path(sharding, tree)


class Pmap(NamedTuple):
    """`pmap` over replicas: each has the whole state and its part of the batch, with keys of its own."""

    local: tuple[jax.Device, ...]

    @property
    def devices(self) -> int:
        return len(self.local) * jax.process_count()

    def compile(self, advance: Callable[..., Any], state: PyTree, window: PyTree) -> Callable[..., Any]:
        compiled = jax.pmap(advance, axis_name=collectives.AXIS, donate_argnums=(0, 1))
        if jax.process_count() == 1:
            return compiled

        def run(*args: Any) -> Any:
            # With several hosts pmap itself takes keys through the host.
            with jax.transfer_guard("allow"):
                return compiled(*args)

        return run

    def place(self, tree: T) -> T:
        def copies(x: Any) -> Array:
            x = x if not isinstance(x, jax.Array) or x.is_fully_addressable else x.addressable_shards[0].data
            return jax.device_put(jnp.broadcast_to(x, (len(self.local), *x.shape)), self._each)

        return jax.tree.map(copies, tree)

    def feed(self, batches: PyTree, n: Any) -> tuple[PyTree, Array]:
        def cut(x: np.ndarray) -> np.ndarray:
            return np.moveaxis(x.reshape(x.shape[0], len(self.local), -1, *x.shape[2:]), 1, 0)

        return jax.device_put(jax.tree.map(cut, batches), self._each), self.number(n)

    def number(self, n: int) -> Array:
        return jax.device_put(np.repeat(np.int32(n), len(self.local)), self._each)

    def spec(self, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._all), tree)

    def to_disk(self, tree: T) -> T:
        # Where there are several hosts, orbax takes arrays of all of them only.
        return jax.tree.map(lambda x: _put(x, self._all), self.to_view(tree))

    def to_view(self, tree: T) -> T:
        return jax.tree.map(lambda x: x.addressable_shards[0].data.reshape(x.shape[1:]), tree)

    @property
    def _all(self) -> NamedSharding:
        return NamedSharding(Mesh(np.array(jax.devices()), (collectives.AXIS,)), P())

    @property
    def _each(self) -> NamedSharding:
        return NamedSharding(Mesh(np.array(self.local), (collectives.AXIS,)), P(collectives.AXIS))


def choose(kind: Literal["auto", "jit", "pmap"] = "auto", *, fsdp: int = 1) -> Parallel:
    """Chooses the way to run.

    Args:
      kind: the way to run: `jit` over all devices of all hosts, or `pmap` over them; `auto` is `jit`, but on one device where
        the devices are the CPU of a single host, which cutting a batch would only slow down.
      fsdp: the number of devices that parameters and optimizers are cut over; the batch is cut over all of them.

    Returns:
      The way to run.

    Raises:
      UserError: if `fsdp` does not divide the number of devices, or is asked of `pmap`.
    """
    if kind == "pmap":
        if fsdp != 1:
            raise UserError(
                "--fsdp cuts the parameters, and under --parallel pmap every replica holds them all; use --parallel jit."
            )
        return Pmap(tuple(jax.local_devices()))
    devices = jax.devices()
    if kind == "auto" and fsdp == 1 and jax.process_count() == 1 and jax.default_backend() == "cpu":
        devices = devices[:1]
    if fsdp < 1 or len(devices) % fsdp:
        raise UserError(f"--fsdp {fsdp} does not divide the {len(devices)} devices there are; give a divisor of it.")
    grid = mesh_utils.create_device_mesh((len(devices) // fsdp, fsdp), devices)
    return Jit(Mesh(grid, (collectives.AXIS, "fsdp")))


def check(sizes: Collection[int], *, devices: int, accumulate: int) -> None:
    """Refuses a batch that cannot be cut into equal parts.

    Args:
      sizes: the numbers of examples in a global batch, one for each stream.
      devices: the number of devices that a batch is cut over.
      accumulate: the number of micro-batches that each device's part is cut into.

    Raises:
      UserError: with the nearest sizes that can.
    """
    parts = devices * accumulate
    for size in sizes:
        if size % parts:
            near = " and ".join(str(n) for n in (size // parts * parts, (size // parts + 1) * parts) if n)
            cuts = [f"over {devices} devices"] * (devices > 1) + [f"into {accumulate} micro-batches"] * (accumulate > 1)
            raise UserError(
                f"A batch of {size} cannot be cut {' and '.join(cuts)} of equal size; "
                f"the nearest batch sizes that can are {near}."
            )


def on_devices_of(tree: PyTree, batch: PyTree) -> PyTree:
    """A host's batch on the devices of a tree, cut over all of them where it can be.

    Args:
      tree: a state.
      batch: the batch, `{feature: [B, ...]}`, the same on every host.

    Returns:
      The batch on the devices.
    """
    sharding = jax.tree.leaves(tree)[0].sharding
    if not isinstance(sharding, NamedSharding):
        return jax.device_put(batch)
    mesh = sharding.mesh
    even = all(x.shape[0] % mesh.size == 0 for x in jax.tree.leaves(batch))
    rows = NamedSharding(mesh, P(mesh.axis_names if even else None))
    return jax.tree.map(lambda x: _put(x, rows), batch)


def _put(x: Any, sharding: NamedSharding) -> Array:
    if sharding.is_fully_addressable or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return jax.device_put(x, sharding)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(x), sharding))
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _cut(shape: tuple[int, ...], parts: int) -> P:
    """The largest dimension that can be cut evenly."""
    fitting = [d for d, size in enumerate(shape) if size % parts == 0]
    if not fitting:
        return P()
    chosen = max(fitting, key=lambda d: shape[d])
    return P(*("fsdp" if d == chosen else None for d in range(len(shape))))
