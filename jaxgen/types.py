"""The few types that every room uses."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array
"""A typed PRNG key, as `jax.random.key` makes it."""

PyTree: TypeAlias = Any
Params: TypeAlias = Mapping[str, PyTree]
"""Parameters by player: `{"generator": ..., "discriminator": ...}`; a name without a player is frozen."""

Vars: TypeAlias = Mapping[str, PyTree]
"""Variables that are learned without a gradient: batch statistics, codebook averages, adaptive probabilities."""

Batch: TypeAlias = Mapping[str, Any]
"""Arrays whose first axis counts examples; `mask`, where present, is 0 for padding."""

Schedule: TypeAlias = Callable[[Any], Any]
"""A value as a function of the step."""
