"""Denoising score matching."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import keys
from jaxgen.diffusion import EPSILON, Continuous, Denoise, NoiseSchedule, Parameterisation, denoiser, diffuse
from jaxgen.distributions import sum_event
from jaxgen.errors import InputError
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.objectives.told import Told, tell
from jaxgen.objectives.weights import Weight, uniform
from jaxgen.types import Array, Batch, Key, Params, Vars


def denoising_score_matching(
    model: nn.Module,
    schedule: NoiseSchedule,
    parameterisation: Parameterisation = EPSILON,
    *,
    weight: Weight = uniform,
    told: Mapping[str, Told] = {},
    name: str = "model",
    feature: str = "image",
    noise: str | None = None,
) -> LossFn:
    r"""Regression from noisy data, $\frac{w_t}{D} \| f_\theta(x_t, t) - \mathrm{target} \|^2$.

    $x_t = \alpha_t x_0 + \sigma_t \epsilon$ with $\epsilon \sim N(0, I)$ and t as the schedule draws it, for each example. The
    minimum over functions is the expectation of the target given x_t, from which the score of the noisy data follows.

    Args:
      model: a linen module, `(scaled x_t [B, ...], time [B], **told) -> [B, ...]`.
      schedule: discrete steps or continuous time.
      parameterisation: the parameterisation, which says what the output means.
      weight: the weight w of the output's error, a function of the noise level; `on_noise` and `on_data` make one of a weight
        of the error of the noise or of the data.
      told: the features that the model is conditioned on, by keyword: `{"label": Told("label", nothing=10, drop=0.1)}`.
      name: the parameters' name.
      feature: the batch's feature x_0.
      noise: the batch's feature epsilon, standard normal noise that is coupled to x_0 (`coupled`); None draws it.

    Returns:
      A loss with the metric `noise_error`: the squared error of the noise, whatever the parameterisation and the weight.

    Raises:
      InputError: if at an end of a continuous schedule no prediction follows from the output, or, when the loss is called, if
        the output has another shape than x_0.

    Source: Vincent 2011; Song & Ermon 2019, equation 6; Ho et al. 2020, equation 14.
    """
    if isinstance(schedule, Continuous):
        _check_ends(schedule, parameterisation)

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x0 = batch[feature].astype(jnp.float32)
        times, drawn, drop = (keys.fold_in(keys.per_example(key, batch), i) for i in range(3))
        level = schedule.level(schedule.draw(times, len(x0)))
        eps = keys.draw(jax.random.normal, drawn, x0.shape) if noise is None else batch[noise].astype(jnp.float32)
        xt = diffuse(x0, eps, level)
        own = tell(told, batch, drop if train else None)
        given = parameterisation.given(xt, level)
        out, vars = apply(model, params, state.vars, *given, key=key, name=name, train=train, told=own)
        if out.shape != x0.shape:
            raise InputError(
                f"The network's output has the shape {out.shape[1:]}, and the data have {x0.shape[1:]}; give it as many "
                "outputs. A learned variance is trained by `hybrid` or `vlb`."
            )
        out = out.astype(jnp.float32)
        dimensions = x0[0].size
        error = sum_event((out - parameterisation.target(x0, eps, level)) ** 2) / dimensions
        noise_error = sum_event((parameterisation.eps(out, xt, level) - eps) ** 2) / dimensions
        return weight(level) * error, Aux(vars, {"noise_error": noise_error})

    return loss


def _check_ends(schedule: Continuous, parameterisation: Parameterisation) -> None:
    ends = schedule.level(jnp.array([schedule.start, schedule.end]))
    found = (of(jnp.ones(2), jnp.ones(2), ends) for of in (parameterisation.x0, parameterisation.eps))
    if not all(np.isfinite(values).all() for values in found):
        raise InputError(
            "Where nothing is left of the data, or no noise is there, this output does not say both; let the schedule begin "
            "and end a little inside, or take another parameterisation, such as the velocity."
        )


def denoiser_of(
    model: nn.Module,
    params: Params,
    vars: Vars,
    parameterisation: Parameterisation = EPSILON,
    *,
    told: Mapping[str, Array] = {},
    clip: tuple[float, float] | None = None,
    name: str = "model",
) -> Denoise:
    """A trained model as samplers and bounds take it.

    Args:
      model: the module that was trained.
      params: parameters by name.
      vars: variables by name.
      parameterisation: the parameterisation, which says what its output means.
      told: the values that the model gets of the batch, by keyword (`objectives.tell`).
      clip: the range of the data, for predictions of it.
      name: the parameters' name.

    Returns:
      `denoise(x_t, level) -> Prediction`.
    """

    def network(xt: Array, time: Array) -> Array:
        return apply(model, params, vars, xt, time, name=name, told=told)[0]

    return denoiser(network, parameterisation, clip=clip)
