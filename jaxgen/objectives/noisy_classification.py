"""Classification of noisy data at a known level of the noise, for classifier guidance."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import keys
from jaxgen.diffusion import EPSILON, LogProb, NoiseSchedule, Parameterisation, diffuse
from jaxgen.diffusion.schedules import Level
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.classification import cross_entropy, error
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params, Vars


def noisy_classification(
    model: nn.Module,
    schedule: NoiseSchedule,
    parameterisation: Parameterisation = EPSILON,
    *,
    name: str = "model",
    feature: str = "image",
    label: str = "label",
) -> LossFn:
    r"""The cross-entropy $-\log p(y | x_t, t)$ of a classifier of noisy data.

    $x_t = \alpha_t x_0 + \sigma_t \epsilon$ with $\epsilon \sim N(0, I)$ and t as the schedule draws it, for each example. The
    minimum over functions is the posterior of the classes given $x_t$, whose gradient turns the score of the noisy data into
    that of one class.

    Args:
      model: a linen module, `(scaled x_t [B, ...], time [B]) -> logits [B, K]`.
      schedule: the noise of the diffusion model that is to be guided.
      parameterisation: the parameterisation of that model; the classifier gets x_t and the time scaled as that model does.
      name: the parameters' name.
      feature: the batch's feature x_0.
      label: the batch's feature of classes, `[B]`. One that is no class, such as -1 for a withheld one, has a loss of nan.

    Returns:
      A loss with the metric `error`: 1 where the likeliest class is another than the label.

    Source: Dhariwal & Nichol 2021, section 4.1; the authors' code, `classifier_train.py`.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x0 = batch[feature].astype(jnp.float32)
        times, noise = (keys.fold_in(keys.per_example(key, batch), i) for i in range(2))
        level = schedule.level(schedule.draw(times, len(x0)))
        xt = diffuse(x0, keys.draw(jax.random.normal, noise, x0.shape), level)
        given = parameterisation.given(xt, level)
        logits, vars = apply(model, params, state.vars, *given, key=key, name=name, train=train)
        return cross_entropy(logits, batch[label]), Aux(vars, {"error": error(logits, batch[label])})

    return loss


def classifier_of(
    model: nn.Module,
    params: Params,
    vars: Vars,
    label: Array,
    parameterisation: Parameterisation = EPSILON,
    *,
    name: str = "model",
) -> LogProb:
    """A trained classifier of noisy data as guidance takes it (`diffusion.classifier`).

    Args:
      model: the module that was trained by `noisy_classification`; it is applied without dropout.
      params: parameters by name.
      vars: variables by name.
      label: the class of each example, `[B]`.
      parameterisation: the parameterisation that the classifier was trained with.
      name: the parameters' name.

    Returns:
      `log_prob(x_t, level) -> [B]`: the log-probability of each example's class.
    """

    def log_prob(xt: Array, level: Level) -> Array:
        return -cross_entropy(apply(model, params, vars, *parameterisation.given(xt, level), name=name)[0], label)

    return log_prob
