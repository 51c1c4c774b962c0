"""Reconstruction at several resolutions."""

import math

import flax.linen as nn

from jaxgen.distributions import sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.nn import BOX, halved
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params


def multiscale_reconstruction(model: nn.Module, *, weight: float = 1.0, name: str = "model", feature: str = "image") -> LossFn:
    r"""The negative log-likelihoods of an image and of its means over 2x2, 4x4 ... pixels, given its own code.

    $-\log p_0(x) - w \sum_{s \ge 1} 4^s \log p_s(\mathrm{down}^s(x))$. By the factors $4^s$ the mean error of a pixel
    counts the same at each size; sums alone would leave next to nothing to the small images. With w = 0 it is `reconstruction`.

    Args:
      model: a linen module whose method `scales` maps x to distributions over images of doubling sides, the smallest first.
      weight: the weight w of the smaller images.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metric `squared_error`, the sum over the pixels of the image itself of $(x - E[x | z])^2$.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch[feature]
        scales, vars = apply(model, params, state.vars, x, key=key, name=name, method="scales", train=train)
        *smaller, p = scales
        values, target = -sum_event(p.log_prob(x)), x
        for q in reversed(smaller):
            target = halved(target, BOX)
            share = math.prod(x.shape[1:3]) / math.prod(target.shape[1:3])
            values = values - weight * share * sum_event(q.log_prob(target))
        return values, Aux(vars, {"squared_error": sum_event((x - p.mean) ** 2)})

    return loss
