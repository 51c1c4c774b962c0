r"""Losses of diffusion models that learn their reverse variance: the hybrid loss, and the variational bound by itself."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen import keys
from jaxgen.diffusion import EPSILON, Discrete, Parameterisation, Prediction, diffuse
from jaxgen.distributions import DiscretizedNormal, sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.objectives.resampling import SecondMoment
from jaxgen.objectives.told import Told, tell
from jaxgen.objectives.variational_bound import Decoder, bound_term
from jaxgen.types import Array, Batch, Key, Params, Vars

HISTORY = "history"
"""The name of the variable that `vlb` keeps its losses in."""


class _Noisy(NamedTuple):
    """A batch at drawn steps, and the predictions there; the noise's mean squared error is one value per example."""

    x0: Array
    t: Array
    found: Prediction
    noise_error: Array
    vars: Vars


class _Network(NamedTuple):
    """The network of a loss, and how it is called."""

    model: nn.Module
    schedule: Discrete
    parameterisation: Parameterisation
    told: Mapping[str, Told]
    name: str
    feature: str

    def at(self, t: Array, params: Params, vars: Vars, batch: Batch, key: Key, train: bool) -> _Noisy:
        """The predictions at steps t of noisy data, with the noise of `denoising_score_matching`."""
        x0 = batch[self.feature].astype(jnp.float32)
        noise, drop = (keys.fold_in(keys.per_example(key, batch), i) for i in (1, 2))
        level = self.schedule.level(t)
        eps = keys.draw(jax.random.normal, noise, x0.shape)
        xt = diffuse(x0, eps, level)
        own = tell(self.told, batch, drop if train else None)
        given = self.parameterisation.given(xt, level)
        out, vars = apply(self.model, params, vars, *given, key=key, name=self.name, train=train, told=own)
        found = self.parameterisation.prediction(out.astype(jnp.float32), xt, level)
        return _Noisy(x0, t, found, sum_event((found.eps - eps) ** 2) / x0[0].size, vars)

    def times(self, batch: Batch, key: Key) -> Key:
        """The keys that the examples' steps are drawn with."""
        return keys.fold_in(keys.per_example(key, batch), 0)


def hybrid(
    model: nn.Module,
    schedule: Discrete,
    parameterisation: Parameterisation = EPSILON,
    *,
    share: float = 0.001,
    decoder: Decoder = DiscretizedNormal,
    told: Mapping[str, Told] = {},
    name: str = "model",
    feature: str = "image",
) -> LossFn:
    r"""$L_\mathrm{simple} + \lambda L_\mathrm{vlb}$: the error of the noise teaches the mean, and the bound the variance alone.

    $L_\mathrm{vlb}$ is T times one term of the bound, in bits per dimension, at the t of the noise's error. Its gradient does
    not reach the predicted data, only v. Predictions are not clipped.

    Args:
      model: a linen module, `(scaled x_t [B, ..., C], time [B], **told) -> [B, ..., 2 C]`; the channels end with those of v.
      schedule: the chain.
      parameterisation: the parameterisation, which says what the first half means.
      share: the factor lambda of the bound.
      decoder: the distribution p(x_0 | x_1).
      told: the features that the model is conditioned on, by keyword.
      name: the parameters' name.
      feature: the batch's feature x_0.

    Returns:
      A loss with the metrics `noise_error`, the squared error of the noise, and `vlb`, an estimate of the bound without its
      prior, in bits per dimension.

    Source: Nichol & Dhariwal 2021, equation 16, and the authors' code (`RESCALED_MSE`), whose factor T / 1000 is lambda T.
    """
    network = _Network(model, schedule, parameterisation, told, name, feature)

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        t = schedule.draw(network.times(batch, key), len(batch[feature]))
        at = network.at(t, params, state.vars, batch, key, train)
        of_variance = _bits(at, schedule, decoder, at.found._replace(x0=lax.stop_gradient(at.found.x0)))
        return at.noise_error + share * of_variance, Aux(at.vars, {"noise_error": at.noise_error, "vlb": of_variance})

    return loss


def vlb(
    model: nn.Module,
    schedule: Discrete,
    parameterisation: Parameterisation = EPSILON,
    *,
    law: SecondMoment | None = None,
    decoder: Decoder = DiscretizedNormal,
    told: Mapping[str, Told] = {},
    name: str = "model",
    feature: str = "image",
) -> LossFn:
    r"""$L_\mathrm{vlb}$: T times one term of the bound, in bits per dimension, at a step that is drawn by the losses before.

    The terms differ by orders of magnitude from step to step. With uniform steps the gradient is therefore so noisy that
    `hybrid` reaches a better bound; with importance sampling it is not. Predictions are not clipped.

    Args:
      model: a linen module, `(scaled x_t [B, ..., C], time [B], **told) -> [B, ..., 2 C]`; the channels end with those of v.
      schedule: the chain.
      parameterisation: the parameterisation, which says what the first half means.
      law: the law of the steps, whose history is the state's variable `history`: a game begins with `{"history":
        law.empty()}`, and its player merges it by `merging.same`. None draws uniformly and keeps no history.
      decoder: the distribution p(x_0 | x_1).
      told: the features that the model is conditioned on, by keyword.
      name: the parameters' name.
      feature: the batch's feature x_0.

    Returns:
      A loss, an estimate of the bound without its prior, in bits per dimension, with the metric `noise_error`. Both have the
      weights of the drawn steps, so that their means are those of uniform steps.

    Source: Nichol & Dhariwal 2021, section 3.3 and equation 18, and the authors' code (`RESCALED_KL`).
    """
    network = _Network(model, schedule, parameterisation, told, name, feature)

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        times, n = network.times(batch, key), len(batch[feature])
        if law is None:
            t, weight = schedule.draw(times, n), jnp.ones(n)
        else:
            t, weight = law.draw(state.vars[HISTORY], times, n)
        at = network.at(t, params, state.vars, batch, key, train)
        bits = _bits(at, schedule, decoder, at.found)
        vars: dict[str, Any] = dict(at.vars)
        if law is not None and train:
            vars[HISTORY] = law.noted(state.vars[HISTORY], t, bits, batch.get("mask"))
        return weight * bits, Aux(vars, {"noise_error": weight * at.noise_error})

    return loss


def _bits(at: _Noisy, schedule: Discrete, decoder: Decoder, found: Prediction) -> Array:
    """T times a term of the bound, in bits per dimension."""
    return bound_term(found, schedule, at.x0, at.t, decoder=decoder) * (schedule.steps / (math.log(2) * at.x0[0].size))
