"""Averages of another width than those that a run kept, made of its checkpoints."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.game import TrainState
from jaxgen.game.averages import Averages
from jaxgen.game.power_averages import WIDEST, PowerFunction, coefficients
from jaxgen.game.state import decays_of
from jaxgen.runs.checkpoint import Checkpoints
from jaxgen.runs.preserved import listed

LARGEST_ERROR = 0.1
"""The largest error of a profile, as a share of its size, that a reconstruction may have."""


def reconstructed(
    experiment: Experiment, checkpoints: Checkpoints, spec: TrainState, state: TrainState, step: int, sigma_rel: float
) -> TrainState:
    """The state with averages of another width, a sum of those in all checkpoints up to its step.

    Args:
      experiment: the experiment, whose averages are `PowerFunction`s.
      checkpoints: the run's checkpoints.
      spec: the shapes of a state, as `Checkpoints.restore` takes them.
      state: the state of the step.
      step: the step.
      sigma_rel: the relative width of the averages that are asked for.

    Returns:
      The state. What is no float is that of the step itself.

    Raises:
      UserError: if the run kept no power-function averages, the width is outside of its range, or the checkpoints do not
        suffice for it.
    """
    widths = _widths(experiment)
    if not 0 < sigma_rel < WIDEST:
        raise UserError(f"--sigma-rel is {sigma_rel:g}; give a width above 0 and below {WIDEST:.4f}, the plain mean's.")
    steps = [one for one in checkpoints.steps() if 0 < one <= step]
    if not steps:
        raise UserError(f"Averages of step {step} have seen no training; give a later --step, or leave out --sigma-rel.")
    kept = [(one, width) for one in steps for width in widths]
    ends, own_widths = (np.array(column) for column in zip(*kept, strict=True))
    weights, error = coefficients(ends, own_widths, step, sigma_rel)
    if error > LARGEST_ERROR:
        there = " and ".join(f"{width:g}" for width in widths)
        raise UserError(
            f"Averages of the widths {there} at step {listed(steps)} make up one of {sigma_rel:g} with an error of {error:.0%} "
            "only; keep more checkpoints by --keep-every, or give a width closer to these."
        )
    total: Any = None
    for i, one in enumerate(steps):
        own = state if one == step else checkpoints.restore(one, spec, None)[0]
        for place, average in enumerate([Averages(own.ema, own.ema_vars), *own.more_ema]):
            scaled = _scaled(average, float(weights[i * len(widths) + place]))
            total = scaled if total is None else jax.tree.map(np.add, total, scaled)
    found = jax.tree.map(_as, Averages(state.ema, state.ema_vars), total)
    return state._replace(ema=found.params, ema_vars=found.vars)


def _widths(experiment: Experiment) -> Sequence[float]:
    places = decays_of(experiment.players, experiment.ema)
    found = [set(decays.values()) for decays in places]
    if not found or any(len(one) > 1 or not all(isinstance(d, PowerFunction) for d in one) for one in found):
        raise UserError(
            "--sigma-rel makes averages of those that are power functions of the step, and this run kept none; train one with "
            "--ema-widths and --keep-every."
        )
    if any(decays.keys() != places[0].keys() for decays in places):
        raise UserError("--sigma-rel makes averages of all networks at once, and those of this run have several numbers.")
    return [decay.sigma_rel for one in found for decay in one if isinstance(decay, PowerFunction)]


def _scaled(average: Averages, weight: float) -> Averages:
    return jax.tree.map(lambda x: weight * np.asarray(x, np.float64), average)


def _as(like: Any, x: np.ndarray) -> Any:
    """The sum in the dtype and on the devices of an average; of what is no float the average itself."""
    return jax.device_put(x.astype(like.dtype), like.sharding) if np.issubdtype(like.dtype, np.inexact) else like
