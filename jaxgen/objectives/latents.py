"""Losses on the latents of another run's autoencoder in place of its data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Batch, Key, Params, PyTree

LATENT_SCALE = "latent_scale"
"""The name of the latents' scale among the variables of a state."""


class Latents(NamedTuple):
    """A frozen autoencoder as functions of a state, which has its parameters and the scale of its latents.

    Fields:
      encode: the encoder, `(state, x, key) -> z`: with a key, or a key for each example, a draw from the posterior, and with
        None its mean; times the scale.
      decode: the decoder, `(state, z) -> x`, which divides by the scale first.
    """

    encode: Callable[[TrainState, Array, Key | None], Array]
    decode: Callable[[TrainState, Array], Array]


def latents_by(module: nn.Module, *, name: str = "first_stage") -> Latents:
    """The latents of an autoencoder whose parameters lie in the state, with their scale in its variables (`LATENT_SCALE`).

    Args:
      module: the autoencoder, with the methods `to_latents(x, key)` and `from_latents(z)` (`diffusion.FirstStage`).
      name: the name of its parameters.

    Returns:
      The functions, compiled. They read `state.params`, so that no loss has a gradient in the autoencoder's parameters.
    """

    @jax.jit
    def encode(state: TrainState, x: Array, key: Key | None) -> Array:
        z, _ = apply(module, state.params, state.vars, x, key, name=name, method="to_latents")
        return z * state.vars[LATENT_SCALE]

    @jax.jit
    def decode(state: TrainState, z: Array) -> Array:
        return apply(module, state.params, state.vars, z / state.vars[LATENT_SCALE], name=name, method="from_latents")[0]

    return Latents(encode, decode)


def in_latents(loss: LossFn, latents: Latents, *, feature: str = "image") -> LossFn:
    r"""A loss on latents: the one on data, which gets $z = s\, \mathcal{E}(x)$ in place of x.

    In training the latents of an example are drawn anew whenever it is seen; elsewhere they are the posterior's means.

    Args:
      loss: the loss on data, such as `denoising_score_matching`.
      latents: the frozen autoencoder.
      feature: the batch's feature x.

    Returns:
      The loss, with the metrics of the one on data.

    Source: Rombach et al. 2022, equation 2.
    """

    def of_latents(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Any, Aux]:
        own = keys.fold_in(keys.per_example(key, batch), keys.LATENTS) if train else None
        z = latents.encode(state, batch[feature], own)
        values, aux = loss(params, state, {**batch, feature: z}, key, train=train)
        # The scale stays as it was at the start, on every replica.
        return values, aux._replace(vars={variable: of for variable, of in aux.vars.items() if variable != LATENT_SCALE})

    return of_latents


def unit_scale(module: nn.Module, variables: PyTree, x: Float[Array, "b *event"], key: Key) -> Float[Array, ""]:
    """The scale with which latents have a standard deviation of one, over all numbers of a batch.

    Args:
      module: the autoencoder.
      variables: the variables of the autoencoder, `{"params": ..., ...}`.
      x: a batch of data.
      key: the key of the draws from the posterior.

    Returns:
      1 / std.

    Source: Rombach et al. 2022, appendix G; the authors' code takes the first batch (`scale_by_std`).
    """
    own = keys.by_example(key, {"x": x})["key"]

    @jax.jit
    def spread(variables: PyTree, x: Array, own: Key) -> Array:
        z: Any = module.apply(variables, x, own, method="to_latents")
        return jnp.std(z, ddof=1)

    return 1 / spread(variables, x, own)
