"""A training state as plain nested dicts of arrays, as a checkpoint holds it; and whether a saved one fits an experiment."""

from collections.abc import Mapping
from typing import Any

import flax.serialization
import jax
import numpy as np

from jaxgen.errors import UserError
from jaxgen.game import TrainState


def to_tree(state: TrainState) -> dict[str, Any]:
    """A state as plain nested dicts of arrays: what is on disk does not depend on any class."""
    return flax.serialization.to_state_dict(state._replace(key=_key_data(state.key)))


def from_tree(like: TrainState, tree: Mapping[str, Any]) -> TrainState:
    """The inverse of `to_tree`, in the structure of `like`."""
    state = flax.serialization.from_state_dict(like._replace(key=_key_data(like.key)), {"ema_vars": {}, **tree})
    return state._replace(key=jax.random.wrap_key_data(state.key))


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
    for path in sorted(there.keys() | here.keys()):
        if there.get(path) != here.get(path):
            a, b = (f"{told[path][0]}{told[path][1]}" if path in told else "absent" for told in (there, here))
            raise UserError(
                f"{what} does not fit this experiment: {path.removeprefix('state/')} is {a} there and {b} here; "
                "use the flags and the code that it was trained with, or another --workdir."
            )


def _key_data(key: Any) -> Any:
    if not isinstance(key, jax.ShapeDtypeStruct):
        return jax.random.key_data(key)
    data = jax.eval_shape(jax.random.key_data, key)
    return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=key.sharding)
