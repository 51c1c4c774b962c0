"""Exponential averages of parameters and variables over the steps of a training: one, or several with different decays."""

import functools
import math
from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxgen.game.power_averages import PowerFunction
from jaxgen.types import Array, Params, PyTree, Schedule, Vars

Decay: TypeAlias = float | Schedule
"""The decay of an average: a number for a debiased average, or a schedule of the step as it is (`game.make_train_step`)."""

Decays: TypeAlias = Decay | tuple[Decay, ...]
"""The decays of one average or of several, the first of which is evaluated and sampled from; `()` keeps no average."""


class Averages(NamedTuple):
    """Averages of parameters and variables with the same decays.

    Fields:
      params: averages of parameters, by the name of the network.
      vars: averages of variables, by the name of the network.
    """

    params: Params
    vars: Vars


def places(decays: Mapping[str, Decays | None]) -> list[dict[str, Decay]]:
    """The decays of the first averages by network, then those of the second ones, and so on.

    Args:
      decays: the decays of each network, in order; None is none.

    Raises:
      ValueError: if a number is not in [0, 1).

    >>> places({"generator": (0.999, 0.9), "discriminator": (), "encoder": 0.99})
    [{'generator': 0.999, 'encoder': 0.99}, {'generator': 0.9}]
    """
    found: list[dict[str, Decay]] = []
    for network, own in decays.items():
        several = own if isinstance(own, tuple) else () if own is None else (own,)
        for i, decay in enumerate(several):
            if not callable(decay) and (isinstance(decay, bool) or not 0 <= decay < 1):
                raise ValueError(f"the decay of the averages of {network!r} is {decay}; give 0 or more and less than 1, or ()")
            found += [{}] if i == len(found) else []
            found[i][network] = decay
    return found


def begun(networks: Collection[str], params: Params, vars: Vars) -> Averages:
    """The averages of networks before the first step: copies of what they begin with."""
    return jax.tree.map(jnp.copy, Averages(of(networks, params), of(networks, vars)))


def moved(kept: Averages, decays: Mapping[str, Decay], params: Params, vars: Vars, step: Array) -> Averages:
    """The averages after what a step made.

    Args:
      kept: the averages before the step.
      decays: the decay of each network that is averaged.
      params: all parameters after the step.
      vars: all variables after the step.
      step: the number of steps that were taken before it.
    """

    def of_each(means: Mapping[str, PyTree], now: Mapping[str, PyTree]) -> dict[str, PyTree]:
        weights = {network: _weight(decays[network], step) for network in now}
        return {
            network: jax.tree.map(functools.partial(_moved, weight=weights[network]), means[network], x)
            for network, x in now.items()
        }

    return Averages(of_each(kept.params, of(decays, params)), of_each(kept.vars, of(decays, vars)))


def of(networks: Collection[str], tree: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """The entries of a tree that belong to the networks."""
    return {name: tree[name] for name in networks if name in tree}


def debiased(decay: float, step: Array) -> Array:
    r"""The weight of what step t made in a debiased average, $\frac{1 - d}{1 - d^t}$; t is `step` + 1."""
    if decay == 0:
        return jnp.float32(1)
    # d is subtracted from 1 in double precision: in float32, 1 - 0.9999 would have four correct digits.
    weight = (1 - decay) / -jnp.expm1((step + 1).astype(jnp.float32) * math.log(decay))
    return jnp.where(step == 0, 1.0, weight)


def _weight(decay: Decay, step: Array) -> Array:
    if isinstance(decay, PowerFunction):
        return decay.weight(step)
    return 1 - jnp.asarray(decay(step), jnp.float32) if callable(decay) else debiased(decay, step)


def _moved(mean: Array, x: Array, *, weight: Array) -> Array:
    """The average after one more value; of what is not a float the value itself."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return x
    # With a weight of one it is the value to the bit, whatever was there before.
    return jnp.where(weight == 1, x, mean + weight * (x - mean)).astype(x.dtype)
