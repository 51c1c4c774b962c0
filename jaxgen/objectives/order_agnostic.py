"""The likelihood of binary images under an autoregressive model that has several orders of the pixels.

A model is any linen module `model(x, number, train=...) -> logits [B, h, w, c]`, whose logits of a pixel depend on the pixels
before it in order `number`, as `jaxgen.models.autoregressive.MADE` is.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.distributions import Bernoulli, sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params


def order_agnostic_likelihood(model: nn.Module, *, masks: int = 1, name: str = "model", feature: str = "image") -> LossFn:
    r"""The negative log-likelihood of binary images under S orders or sets of masks that share their weights, in nats.

    In training step t it is that of set t mod S alone, $-\log p_s(x)$, of all images of the batch alike. In evaluation it is
    that of the mixture of all sets, $-\log \frac 1 S \sum_s p_s(x)$, which is exact and takes S passes.

    Args:
      model: an autoregressive model with sets of masks.
      masks: the number S of sets.
      name: the parameters' name.
      feature: the batch's feature of images of zeros and ones.

    Returns:
      A loss with the metrics `nll`, the loss itself; `bits_per_dim`, the same in bits a pixel; and `mask_nll`, the mean of
      $-\log p_s(x)$ over the sets, which is larger by what the mixture gains.

    Source: Germain et al. 2015, section 4: a list of masks, which training goes through in turn, and the mean of their
    probabilities in testing; github.com/mgermain/MADE, trainMADE.py.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch[feature]

        def log_prob(number: Array) -> Array:
            logits, _ = apply(model, params, state.vars, x, number, name=name, train=train)
            return sum_event(Bernoulli(logits).log_prob(x))

        if train:
            nll = mask_nll = -log_prob(state.step % masks)
        else:
            by_mask = lax.map(log_prob, jnp.arange(masks))
            nll, mask_nll = math.log(masks) - jax.nn.logsumexp(by_mask, axis=0), -by_mask.mean(0)
        bits = nll / (x[0].size * math.log(2))
        return nll, Aux(state.vars, {"nll": nll, "bits_per_dim": bits, "mask_nll": mask_nll})

    return loss
