"""The function by which every objective calls a linen module."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from jaxgen import keys
from jaxgen.network import variables
from jaxgen.types import Key, Params, Vars


def apply(
    model: nn.Module,
    params: Params,
    vars: Vars,
    *inputs: Any,
    key: Key | None = None,
    name: str = "model",
    method: str = "__call__",
    train: bool = False,
    told: Mapping[str, Any] = {},
) -> tuple[Any, Vars]:
    """Calls a method of a module with the parameters and variables that bear its name.

    Args:
      model: the module.
      params: parameters by name.
      vars: variables by name; `vars[name]` holds the module's other collections (`batch_stats` ...).
      *inputs: the method's arguments.
      key: the key of the module's own draws (dropout and "sample"), which are those of a batch: of keys `[B]` the first one
        serves.
      name: the name of the parameters in `params`.
      method: the module's method to call.
      train: whether the module is trained, which is passed on; when true, the variables are updated.
      told: more arguments of the method, by keyword, such as `{"label": label}`.

    Returns:
      The method's result, and the variables with this module's update.
    """
    own = vars.get(name, {})
    collections = variables(params, vars, name)
    rngs = {} if key is None else dict.fromkeys(("dropout", "sample"), keys.of_batch(key))
    if not (train and own):
        return model.apply(collections, *inputs, **told, train=train, method=method, rngs=rngs), dict(vars)
    out, updated = model.apply(collections, *inputs, **told, train=train, method=method, rngs=rngs, mutable=list(own))
    return out, {**vars, name: {**own, **updated}}


def updates_of(vars: Vars, name: str) -> Vars:
    """The variables of one network alone: what the loss of its player returns, where others were applied as well."""
    return {name: vars[name]} if name in vars else {}
