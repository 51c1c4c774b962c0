"""Reconstruction with units that are seldom active: a penalty on the rate of each unit."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.devices import collectives
from jaxgen.distributions import sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.reduction import Values, penalised
from jaxgen.types import Batch, Key, Params

LEAST = 1e-6
"""The distance from 0 and from 1 within which a measured rate counts as being there; the divergence stays finite."""


def bernoulli_kl(rate: float, measured: Float[Array, " m"]) -> Float[Array, " m"]:
    r"""$KL(\rho \| \hat\rho) = \rho \log \frac{\rho}{\hat\rho} + (1 - \rho) \log \frac{1 - \rho}{1 - \hat\rho}$ of two rates.

    Args:
      rate: the rate rho that is wanted, in (0, 1).
      measured: the rates of the units, in [0, 1].

    Returns:
      One value per unit, in nats.

    Source: Ng 2011 (CS294A notes), section 3.

    >>> bernoulli_kl(0.5, jnp.array([0.5])).tolist()
    [0.0]
    """
    other = jnp.clip(measured, LEAST, 1 - LEAST)
    return rate * jnp.log(rate / other) + (1 - rate) * jnp.log((1 - rate) / (1 - other))


def sparse_rate(
    model: nn.Module, *, rate: float = 0.05, weight: float = 3.0, name: str = "model", feature: str = "image"
) -> LossFn:
    r"""$-\log p(x | z = f(x)) + \beta \sum_j KL(\rho \| \hat\rho_j)$ with the mean activation $\hat\rho_j$ of the j-th unit.

    The mean is over the whole batch, on all devices; the notes take it over the whole set. With `accumulate` it is that of a
    micro-batch, whose divergence is larger. Outside of training there is no penalty, since an evaluated batch may be padded.

    Args:
      model: a linen module that maps x to a distribution over x, with a method `encode` to units in [0, 1].
      rate: the rate rho that is wanted of each unit.
      weight: the weight beta.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metrics `squared_error` and `activation`, the mean activation of all units.

    Source: Ng 2011 (CS294A notes), section 3.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Values, Aux]:
        x = batch[feature]
        z, vars = apply(model, params, state.vars, x, key=key, name=name, method="encode", train=train)
        p, vars = apply(model, params, vars, z, name=name, method="decode", train=train)
        penalty = weight * bernoulli_kl(rate, collectives.mean(z.mean(0))).sum() if train else jnp.zeros(())
        values = penalised(-sum_event(p.log_prob(x)), penalty)
        return values, Aux(vars, {"squared_error": sum_event((x - p.mean) ** 2), "activation": z.mean(1)})

    return loss
