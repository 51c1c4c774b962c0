"""A network as a value: a linen module with example inputs; and the place of its parameters and variables in a state."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from jaxgen.types import Key, Params, PyTree, Vars


class Network:
    """A linen module and the arguments of a call, from which its parameters are made.

    Args:
      module: the module.
      *inputs: the arguments of its call. Zeros serve where only shapes matter; of a module that starts from data, such as one
        that normalises by its first batch, they are a batch.
      role: a value that other runs need to use the network, such as the noise it was trained on (`diffusion.Trained`); None
        where they need none.

    Attributes:
      module: the module.
      inputs: the arguments.
      role: the value that other runs need.
      init: the function `init(key) -> {collection: tree}`, compiled; it draws "params" and "sample".

    >>> import jax.numpy as jnp
    >>> jax.tree.map(jnp.shape, Network(nn.Dense(2), jnp.zeros((1, 3))).init(jax.random.key(0)))
    {'params': {'bias': (2,), 'kernel': (3, 2)}}
    """

    def __init__(self, module: nn.Module, *inputs: Any, role: Any = None) -> None:
        self.module, self.inputs, self.role = module, inputs, role
        # Compiled here and not in `initialize`, so that a network is traced once however often a state is begun.
        self.init: Callable[[Key], dict[str, PyTree]] = jax.jit(self._init)

    def _init(self, key: Key) -> dict[str, PyTree]:
        own, noise = jax.random.split(key)
        return dict(self.module.init({"params": own, "sample": noise}, *self.inputs))

    def __repr__(self) -> str:
        return f"Network({type(self.module).__name__})"


class FrozenNetwork(NamedTuple):
    """A network of another run that never changes, as `jaxgen.frozen` gives it.

    Fields:
      module: the module.
      params: the parameters of the module, on the host.
      vars: the other collections of the module, such as batch statistics or a codebook.
      digest: a hash of parameters and variables.
      given: the other run, as it was named.
      run: the absolute path of the other run.
      network: the name of the network there.
      asked: the checkpoint that was asked for: `last`, `best` or `step 4000`.
      step: the step of the checkpoint that it was taken from.
      folder: the folder that has the other run's record: its own, or the copy in a run that was trained with the network.
      role: the value by which the other run's experiment says how the network is used (`Network.role`), or None.
      inputs: the example inputs of the module.
      classes: the names of the classes in the other run's training data, by feature; they are there without its data.
    """

    module: nn.Module
    params: PyTree
    vars: Mapping[str, PyTree]
    digest: str
    given: str
    run: Path
    network: str
    asked: str
    step: int
    folder: Path
    role: Any = None
    inputs: tuple[Any, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = {}


def initialize(
    networks: Mapping[str, Network], held: Mapping[str, Callable[[], Params]] = {}
) -> Callable[[Key], tuple[Params, Vars]]:
    """The `init` of networks, compiled: what an experiment starts from that has no `init` of its own.

    Args:
      networks: the networks by name; the i-th is made from `fold_in(key, i)`.
      held: the functions that read the parameters of a network from a file, by its name; see `begin_with`.

    Returns:
      `init(key) -> (params, vars)`, where `vars[name]` holds a module's other collections (`batch_stats` ...).
    """

    @jax.jit
    def init(key: Key) -> tuple[Params, Vars]:
        params, vars = {}, {}
        for i, (name, network) in enumerate(networks.items()):
            collections = network.init(jax.random.fold_in(key, i))
            params[name] = collections.pop("params", {})  # a network of statistics has none
            if collections:
                vars[name] = collections
        return params, vars

    def begin(key: Key) -> tuple[Params, Vars]:
        params, vars = init(key)
        return {**params, **{name: begin_with(read, params[name]) for name, read in held.items()}}, vars

    return begin if held else init


def begin_with(read: Callable[[], PyTree], like: PyTree) -> PyTree:
    """Values that a file holds, in the place of those that were drawn: for an `init` that begins with given weights.

    The file is read where a run begins. A run that goes on or is loaded has its values in its checkpoint and asks for shapes
    alone, under `jax.eval_shape`: these are the ones of `like`, and the file may be gone by then.

    Args:
      read: the function that reads the file.
      like: the values that were drawn, of the same shapes.

    Returns:
      The values of the file, or `like`.

    >>> import numpy as np
    >>> init = lambda key: begin_with(lambda: np.arange(2.0), jax.random.normal(key, 2))
    >>> init(jax.random.key(0)), jax.eval_shape(init, jax.random.key(0))
    (array([0., 1.]), ShapeDtypeStruct(shape=(2,), dtype=float32))
    """
    only_shapes = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(like))
    return like if only_shapes else read()


def variables(params: Params, vars: Vars, name: str) -> dict[str, PyTree]:
    """The arguments `{"params": ..., "batch_stats": ...}` of `module.apply`, from parameters and variables by name."""
    return {"params": params[name], **vars.get(name, {})}
