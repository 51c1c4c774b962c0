"""Reconstruction through a bottleneck."""

import flax.linen as nn

from jaxgen.distributions import sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params


def reconstruction(model: nn.Module, *, name: str = "model", feature: str = "image") -> LossFn:
    r"""The negative log-likelihood of an input given its own code, $-\log p(x | z = f(x))$.

    With a Bernoulli likelihood this is the cross-entropy, with a Gaussian of fixed width the squared error up to constants.

    Args:
      model: a linen module that maps x to a distribution over x.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metric `squared_error`, the sum over pixels of $(x - E[x | z])^2$.

    Source: Hinton & Salakhutdinov 2006.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch[feature]
        p, vars = apply(model, params, state.vars, x, key=key, name=name, train=train)
        return -sum_event(p.log_prob(x)), Aux(vars, {"squared_error": sum_event((x - p.mean) ** 2)})

    return loss
