"""The variational information bottleneck: a code that holds the label and little else of its input.

A model is any linen module with `encode(x, train) -> p(z | x)` and `decode(z, train) -> logits of q(y | z)`. The distribution
of the code has `sample(keys [B], samples=k)` and `kl(prior)`, element-wise or of whole vectors.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen import keys
from jaxgen.distributions import Normal, sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.classification import of_class
from jaxgen.objectives.apply import apply
from jaxgen.types import Batch, Key, Params, Schedule, Vars

PRIOR = Normal(0.0, 1.0)


class Prediction(NamedTuple):
    """The predictions of each example's label from k samples of its code.

    Fields:
      rate: the KL of the code to the prior, in nats.
      log_probs: log q(y | z) of each sample and class.
    """

    rate: Float[Array, " b"]
    log_probs: Float[Array, "k b c"]

    @property
    def probabilities(self) -> Float[Array, "b c"]:
        r"""$\frac 1 k \sum_i q(y | z_i)$: the mean of probabilities, not of logits."""
        return jnp.exp(self.log_probs).mean(0)

    def cross_entropy(self, label: Int[Array, " b"]) -> Float[Array, " b"]:
        r"""$-\frac 1 k \sum_i \log q(y | z_i)$ of each example, in nats; nan for a label that is no class."""
        return -of_class(self.log_probs.mean(0), label)


def bottleneck_prediction(
    model: nn.Module,
    params: Params,
    vars: Vars,
    x: Float[Array, "b *event"],
    key: Key,
    *,
    samples: int,
    prior: Normal = PRIOR,
    name: str = "model",
    train: bool = False,
) -> tuple[Prediction, Vars]:
    """Encodes a batch, draws from each code and classifies what was drawn.

    Args:
      model: a bottleneck.
      params: parameters by name.
      vars: variables by name.
      x: a batch.
      key: the key of the samples: one key, or a key for each example, `[B]` (`keys.per_example`).
      samples: the number of samples k.
      prior: the prior r(z).
      name: the parameters' name.
      train: whether layers behave as in training.

    Returns:
      The prediction, and updated variables.
    """
    encode_key, noise, decode_key = (keys.fold_in(key, i) for i in range(3))
    q, vars = apply(model, params, vars, x, key=encode_key, name=name, method="encode", train=train)
    z = q.sample(noise, samples=samples)
    # The samples lie along the batch axis: one large matrix product.
    flat = z.reshape(-1, *z.shape[2:])
    logits, vars = apply(model, params, vars, flat, key=decode_key, name=name, method="decode", train=train)
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(samples, x.shape[0], -1)
    return Prediction(sum_event(q.kl(prior)), log_probs), vars


def bottleneck(
    model: nn.Module,
    *,
    beta: float | Schedule,
    samples: int = 1,
    prior: Normal = PRIOR,
    name: str = "model",
    feature: str = "image",
    label: str = "label",
) -> LossFn:
    r"""The variational bound on the information bottleneck, as a loss.

    $J_{IB} = E_{z \sim p(z | x)}[-\log q(y | z)] + \beta\, KL(p(z | x) \| r(z))$, where $q(y | z)$ approximates the label's
    distribution given the code, $p(y | z)$, and $r(z)$ the code's marginal.

    The first term bounds $I(Z; Y) \ge H(Y) - E[-\log q(y | z)]$ from below, the second $I(Z; X)$ from above. Both are in nats
    here. The authors' code divides both by log 2, to bits: that scales the loss and leaves beta what it is.

    Args:
      model: a bottleneck.
      beta: the weight of the rate, or a schedule of the step; 0 leaves the cross-entropy of a noisy code.
      samples: the number of samples of the code for each example.
      prior: the prior r(z).
      name: the parameters' name.
      feature: the batch's feature x.
      label: the batch's feature y, whole numbers.

    Returns:
      A loss with the metrics `cross_entropy` and `rate`, in nats.

    Source: Alemi et al. 2017, equation 17.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Any, Aux]:
        own = keys.per_example(key, batch)
        prediction, vars = bottleneck_prediction(
            model, params, state.vars, batch[feature], own, samples=samples, prior=prior, name=name, train=train
        )
        cross_entropy = prediction.cross_entropy(batch[label])
        weight = beta(state.step) if callable(beta) else beta
        return cross_entropy + weight * prediction.rate, Aux(vars, {"cross_entropy": cross_entropy, "rate": prediction.rate})

    return loss
