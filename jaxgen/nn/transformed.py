"""Layers whose parameters are transformed each time before they are used, as in weight normalisation."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from jaxgen.types import Array, PyTree

Transform = Callable[[str, Array], Array]
"""`transform(name, parameter)` is the parameter that a layer uses. Its name is its path in the layer, such as "kernel"."""


def call_transformed(layer: nn.Module, transform: Transform, *args: Any, **kwargs: Any) -> Any:
    """Calls a layer with `transform(name, parameter)` in place of each of its parameters, which stay as they are stored.

    `WeightNorm`, `Equalised` and `Masked` are made of it, and `SpectralNorm` works alike. Each wraps a layer and is called as
    the layer is: `WeightNorm(Conv(8, (3, 3)))(x)`. They can be nested, and the outermost transforms first:
    `Masked(WeightNorm(layer), mask)` masks the kernel and then divides it by its norm, `WeightNorm(Masked(layer, mask))`
    divides and then masks.

    Args:
      layer: the layer, whose parameters keep their names and places.
      transform: the transform; it is called while the layer is, and may declare parameters of the module that calls.
      *args: the layer's arguments.
      **kwargs: further arguments of the layer.

    Returns:
      The output of the layer.
    """

    def transformed(variables: PyTree) -> PyTree:
        def named(path: tuple[Any, ...], parameter: Array) -> Array:
            return transform("/".join(key.key for key in path[1:]), parameter)  # the first key is the collection's

        return jax.tree_util.tree_map_with_path(named, variables)

    def call(layer: nn.Module) -> Any:
        return layer(*args, **kwargs)

    if layer.is_initializing():
        call(layer)  # draws the parameters as they are stored; `map_variables(init=True)` would store the transformed ones
    return nn.map_variables(call, "params", trans_in_fn=transformed)(layer)


def is_kernel(name: str) -> bool:
    """Whether a parameter is a layer's kernel, by its name.

    >>> is_kernel("kernel"), is_kernel("query/kernel"), is_kernel("bias")
    (True, True, False)
    """
    return name.rpartition("/")[2] == "kernel"
