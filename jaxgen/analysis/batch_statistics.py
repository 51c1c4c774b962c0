"""Batch statistics that are estimated anew: a state's running averages belong to what the network saw in training."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.game import TrainState
from jaxgen.types import Key, PyTree

STATISTICS = "batch_stats"
"""Flax's name of the collection."""

Pass = Callable[[Mapping[str, PyTree], Key], Mapping[str, PyTree]]
"""`forward(variables, key) -> collections`: a pass in training mode, of `{"params": ..., **collections}`."""


def readjusted(state: TrainState, forward: Pass, *, passes: int, name: str = "model") -> TrainState:
    """A state whose running batch statistics have moved on by passes in training mode, for its samples.

    What a sampler draws has other statistics than the encoded data, all the more at a low temperature. The passes are drawn by
    one fixed key, so the new statistics are a function of the state, as a sampler has to be: the same for every chunk of a
    draw, each of which pays for them. The running averages forget as in training: with a decay of 0.95, a hundred passes leave
    0.6 % of the old ones. Layers that the pass does not reach keep theirs.

    Args:
      state: the state.
      forward: the pass; its key is that of the draw.
      passes: the number of passes; 0 gives the state as it is.
      name: the name of the network.

    Returns:
      The state. It is for sampling only: its averages of variables are left alone.

    Source: Vahdat & Kautz 2020, section 4 (500 passes); github.com/NVlabs/NVAE, evaluate.py (`set_bn`).
    """
    if not passes:
        return state
    params, own = state.params[name], dict(state.vars[name])

    def move(statistics: Any, number: Any) -> tuple[Any, None]:
        variables = {"params": params, **own, STATISTICS: statistics}
        after = forward(variables, jax.random.fold_in(jax.random.key(0), number))
        return after[STATISTICS], None

    statistics, _ = lax.scan(move, own[STATISTICS], jnp.arange(passes))
    return state._replace(vars={**state.vars, name: {**own, STATISTICS: statistics}})
