"""The power of the noise that a trained network predicts, measured over a stream of examples."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import keys
from jaxgen.diffusion import Denoise, Discrete, diffuse
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params


def noise_power(
    denoise: Callable[[TrainState], Denoise],
    schedule: Discrete,
    statistics: nn.Module,
    batch_size: int,
    *,
    name: str = "power",
    feature: str = "image",
) -> LossFn:
    r"""A measurement in the place of a loss: $\|\hat\epsilon(x_t)\|^2 / D$ of each example, which is added up by the step t.

    The i-th example of training has the step $1 + i \bmod T$, so that all steps have as many examples. Nothing is trained. A
    test example has a step of its own, $1 + i \bmod T$ by its place in the split.

    Args:
      denoise: the network of a state, whose predictions are not clipped.
      schedule: the chain of T steps that the network was trained on.
      statistics: the module that adds up, `(t [B], power [B]) -> means [B]` (`models.diffusion.NoisePower`).
      batch_size: the number of examples of a step, on all devices.
      name: the name of its variables.
      feature: the batch's feature x_0.

    Returns:
      A loss without a gradient, with the metric `noise_power`.

    Source: Bao et al. 2022, equation 8.
    """

    def measure(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x0 = batch[feature].astype(jnp.float32)
        own = keys.per_example(key, batch)
        before = state.step * batch_size if train else 0
        t = 1 + (before + batch["slot"]) % schedule.steps
        level = schedule.level(t)
        eps = denoise(state)(diffuse(x0, keys.draw(jax.random.normal, own, x0.shape), level), level).eps
        power = jax.lax.stop_gradient((eps**2).reshape(len(x0), -1).mean(1))
        _, vars = apply(statistics, params, state.vars, t, power, name=name, train=train)
        return power, Aux(vars, {"noise_power": power})

    return measure
