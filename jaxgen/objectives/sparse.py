"""Reconstruction through a code of which k units are not zero."""

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.distributions import sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params, Schedule


def k_sparse(
    model: nn.Module, *, k: int | Schedule, most: int | None = None, name: str = "model", feature: str = "image"
) -> LossFn:
    r"""The squared error of a k-sparse autoencoder, $\|x - \hat x\|^2$ summed over pixels.

    Args:
      model: a linen module with `encode(x, k, most)` and `decode(z)`.
      k: the number of units that are kept, or a schedule of the step, rounded.
      most: a bound on the schedule's values; None where k is a number.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metric `k`.

    Source: Makhzani & Frey 2013, section 2.1, and section 4.2 for the schedule.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch[feature]
        kept = jnp.round(k(state.step)).astype(jnp.int32) if callable(k) else k
        z, vars = apply(model, params, state.vars, x, kept, most, name=name, method="encode", train=train)
        decoded, vars = apply(model, params, vars, z, name=name, method="decode", train=train)
        return sum_event((x - decoded) ** 2), Aux(vars, {"k": jnp.asarray(kept, jnp.float32)})

    return loss
