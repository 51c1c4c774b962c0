"""Parameters for tests that do not care where a model starts."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def normal(*shape: int, seed: int = 0) -> jax.Array:
    """Standard normal numbers."""
    return jnp.array(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def filled(module: nn.Module, *inputs: Any, **named: Any) -> Any:
    """A module's variables, none of them zero, and running variances above zero.

    Drawn by numpy: XLA compiles a kernel's `init` for seconds on a CPU.
    """
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: module.init(key, *inputs, **named), jax.random.key(0))

    def leaf(path: Any, spec: jax.ShapeDtypeStruct) -> jax.Array:
        values = rng.normal(size=spec.shape) / math.sqrt(math.prod(spec.shape[:-1]))
        return jnp.array(np.abs(values) + 0.5 if getattr(path[-1], "key", None) == "var" else values, spec.dtype)

    return jax.tree_util.tree_map_with_path(leaf, shapes)
