"""A training state as plain nested dicts of arrays, as a checkpoint holds it; and whether a saved one fits an experiment."""

from collections.abc import Collection, Mapping
from typing import Any

import flax.serialization
import jax
import numpy as np

from jaxgen.errors import UserError
from jaxgen.game import TrainState
from jaxgen.network import FrozenNetwork


def to_tree(state: TrainState) -> dict[str, Any]:
    """A state as plain nested dicts of arrays: what is on disk does not depend on any class."""
    tree = flax.serialization.to_state_dict(state._replace(key=_key_data(state.key)))
    # Where there is one average at most, the tree is that of versions which knew no more.
    return {name: part for name, part in tree.items() if name != "more_ema" or state.more_ema}


def from_tree(like: TrainState, tree: Mapping[str, Any]) -> TrainState:
    """The inverse of `to_tree`, in the structure of `like`."""
    state = flax.serialization.from_state_dict(like._replace(key=_key_data(like.key)), {"ema_vars": {}, "more_ema": {}, **tree})
    return state._replace(key=jax.random.wrap_key_data(state.key))


def without(state: TrainState, names: Collection[str]) -> TrainState:
    """A state without its frozen parts, which lie once in the run's folder and in no checkpoint."""
    params, vars = ({name: x for name, x in tree.items() if name not in names} for tree in (state.params, state.vars))
    return state._replace(params=params, vars=vars)


def with_parts(state: TrainState, frozen: Mapping[str, FrozenNetwork], like: TrainState) -> TrainState:
    """The inverse of `without`.

    Args:
      state: the state without its frozen parts.
      frozen: the frozen parts, by name.
      like: shapes, dtypes and shardings of the whole state.
    """

    def put(x: Any, spec: Any) -> Any:
        there = spec.sharding
        return jax.device_put(x, there) if there is not None and there.is_fully_addressable else x

    params = {name: jax.tree.map(put, part.params, like.params[name]) for name, part in frozen.items()}
    vars = {name: jax.tree.map(put, part.vars, like.vars[name]) for name, part in frozen.items() if part.vars}
    return state._replace(params={**state.params, **params}, vars={**state.vars, **vars})


def on_first_device(specs: Any) -> Any:
    """Shapes and dtypes with a sharding each: those that have none lie on the first device.

    Without a sharding, orbax asks for the devices that a leaf was saved from.
    """
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def at(spec: Any) -> jax.ShapeDtypeStruct:
        sharding = spec.sharding if isinstance(spec, jax.ShapeDtypeStruct) else None
        return jax.ShapeDtypeStruct(spec.shape, spec.dtype, sharding=sharding or first)

    return jax.tree.map(at, specs)


def shapes(tree: Any) -> dict[str, tuple[Any, ...]]:
    """The dtype and the shape of every leaf, by its path."""
    flat = jax.tree.leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (str(np.dtype(x.dtype)), list(map(int, x.shape)))
        for path, x in flat
    }


def check_fits(there: Mapping[str, tuple[Any, ...]], here: Mapping[str, tuple[Any, ...]], what: str) -> None:
    """Refuses a saved tree that has other leaves, dtypes or shapes than this experiment.

    Args:
      there: the `shapes` of the saved tree.
      here: the `shapes` of the experiment's.
      what: the name of the saved tree, which begins the sentence.

    Raises:
      UserError: if they differ; it names the first leaf that does.
    """
    differs = difference(there, here)
    if differs is not None:
        raise UserError(
            f"{what} does not fit this experiment: {differs.removeprefix('state/')}; "
            "use the flags and the code that it was trained with, or another --workdir."
        )


def difference(there: Mapping[str, tuple[Any, ...]], here: Mapping[str, tuple[Any, ...]]) -> str | None:
    """The first leaf that differs between two trees, by their `shapes`, and how; None where they are alike."""
    for path in sorted(there.keys() | here.keys()):
        if there.get(path) != here.get(path):
            a, b = (f"{told[path][0]}{told[path][1]}" if path in told else "absent" for told in (there, here))
            return f"{path} is {a} there and {b} here"
    return None


def _key_data(key: Any) -> Any:
    if not isinstance(key, jax.ShapeDtypeStruct):
        return jax.random.key_data(key)
    data = jax.eval_shape(jax.random.key_data, key)
    return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=key.sharding)
