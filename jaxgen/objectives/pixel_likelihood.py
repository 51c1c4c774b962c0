"""The likelihood of images under an autoregressive model that gives each pixel a distribution.

A model is any linen module `model(x, label, train=...)` that returns a distribution over all pixels, whose `log_prob(x)` is of
each pixel given those before it, as `jaxgen.models.autoregressive.PixelCNNPlusPlus` does.
"""

import math

import flax.linen as nn

from jaxgen.distributions import sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params


def pixel_likelihood(model: nn.Module, *, condition: str | None = None, name: str = "model", feature: str = "image") -> LossFn:
    r"""The negative log-likelihood of images, $-\sum_i \log p(x_i | x_1 ... x_{i-1}, y)$, in nats.

    It is exact: one pass gives all terms, since each is conditioned on the pixels of the data.

    Args:
      model: an autoregressive model of pixels.
      condition: the batch's feature that the model is conditioned on, such as the label.
      name: the parameters' name.
      feature: the batch's feature of images, in the range of the model.

    Returns:
      A loss with the metric `bits_per_dim`, the same in bits and divided by the numbers of an image.

    Source: Salimans et al. 2017, section 2; van den Oord et al. 2016 (Pixel recurrent neural networks), equation 1.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x, told = batch[feature], () if condition is None else (batch[condition],)
        law, vars = apply(model, params, state.vars, x, *told, key=key, name=name, train=train)
        nll = -sum_event(law.log_prob(x))
        return nll, Aux(vars, {"bits_per_dim": nll / (x[0].size * math.log(2))})

    return loss
