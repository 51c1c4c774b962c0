"""Consistency: one evaluation of a network at any noise gives the data at which the probability-flow ODE ends."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import keys
from jaxgen.diffusion import NoiseSchedule, Parameterisation, diffuse
from jaxgen.diffusion.schedules import Level
from jaxgen.distributions import sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params, Vars

Earlier = Callable[[Array, Array], Array]
"""`earlier(t [B], step) -> r [B]`: the time, nearer to the data, whose prediction is the target of that at t; 0 is the data."""


def closing(every: int, *, q: float = 2.0, k: float = 8.0, b: float = 1.0) -> Earlier:
    r"""Times that close in on t in stages j = 0, 1, ..., $r = t\, (1 - q^{-1 - j} (1 + k\, \mathrm{sigmoid}(-b t)))$.

    Where this is negative r is 0, so that training begins as that of a diffusion model at little noise.

    Args:
      every: the steps m of a stage.
      q: the factor by which the gap t - r shrinks from a stage to the next.
      k: the widening of the gap at little noise.
      b: the slope with which the widening falls off.

    Returns:
      The function `earlier(t, step)`.

    Source: Geng et al. 2024 (ECT), section 3.2 and appendix; the authors' code, `t_to_r_sigmoid`.

    >>> [round(float(closing(10)(jnp.float32(80.0), jnp.int32(step))), 3) for step in (0, 9, 10, 25)]
    [40.0, 40.0, 60.0, 70.0]
    """

    def earlier(t: Array, step: Array) -> Array:
        gap = (1 + k * jax.nn.sigmoid(-b * t)) / q ** (1 + (step // every).astype(jnp.float32))
        return t * jnp.maximum(1 - gap, 0.0)

    return earlier


def consistency(
    model: nn.Module,
    schedule: NoiseSchedule,
    parameterisation: Parameterisation,
    earlier: Earlier,
    *,
    c: float = 0.0,
    name: str = "model",
    feature: str = "image",
) -> LossFn:
    r"""The distance of the predictions at two points of one path, $\frac{1}{t - r} d(f_\theta(x_t, t), f_{\theta^-}(x_r, r))$.

    $x_t = \alpha_t x_0 + \sigma_t \epsilon$ and $x_r$ have the same data and the same noise. The prediction at r is a target,
    without a gradient, and is the data where r = 0; both predictions drop the same units. $d(a, b) = \sqrt{\|a - b\|^2 + c^2} -
    c$.

    Args:
      model: a linen module, `(scaled x_t [B, ...], time [B]) -> [B, ...]`.
      schedule: the noise, with the data at time 0.
      parameterisation: the parameterisation, whose prediction of the data tends to $x_t$ as the noise goes, such as that of
        `diffusion.edm`.
      earlier: the time r of a time t and a step of training.
      c: the constant of the distance, 0 or more; above 0 differences that are small against it count by their squares.
      name: the parameters' name.
      feature: the batch's feature x_0.

    Returns:
      A loss with the metric `distance`, $d(f_\theta, f_{\theta^-})$ before it is divided by t - r.

    Source: Geng et al. 2024 (ECT), equations 12 and 13 and algorithm 1; Song et al. 2023.
    """

    def predict(params: Params, state: TrainState, xt: Array, level: Level, key: Key, *, train: bool) -> tuple[Array, Vars]:
        given = parameterisation.given(xt, level)
        out, vars = apply(model, params, state.vars, *given, key=key, name=name, train=train)
        return parameterisation.x0(out.astype(jnp.float32), xt, level), vars

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x0 = batch[feature].astype(jnp.float32)
        times, noise = (keys.fold_in(keys.per_example(key, batch), i) for i in range(2))
        eps = keys.draw(jax.random.normal, noise, x0.shape)
        t = schedule.draw(times, len(x0))
        r = earlier(t, state.step)
        # Where r is the data the network has no noise to be told of: it is evaluated at t, and the data are the target.
        ends = schedule.level(t), schedule.level(jnp.where(r > 0, r, t))
        here, there = (predict(params, state, diffuse(x0, eps, end), end, key, train=train) for end in ends)
        known = jnp.where((r > 0).reshape(-1, *(1,) * (x0.ndim - 1)), there[0], x0)
        squared = sum_event((here[0] - jax.lax.stop_gradient(known)) ** 2) + c**2
        # A root has no slope at 0, where the predictions agree: nothing is left to learn there.
        distance = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0) - c
        return distance / (t - r), Aux(here[1], {"distance": distance})

    return loss
