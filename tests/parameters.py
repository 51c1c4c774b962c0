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
    """A module's variables, none of them zero. Drawn by numpy: XLA compiles a kernel's `init` for seconds on a CPU."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: module.init(key, *inputs, **named), jax.random.key(0))
    return jax.tree.map(lambda s: jnp.array(rng.normal(size=s.shape) / math.sqrt(math.prod(s.shape[:-1])), s.dtype), shapes)
