"""Losses on data that are made from noise, each with the noise that it was made from."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax

from jaxgen import keys
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.types import Array, Batch, Key, Params

Coupling: TypeAlias = Callable[[TrainState, Batch, Array], Array]
"""`make(state, batch, z [B, ...]) -> x [B, ...]`: the data that a frozen model makes of standard normal noise."""


def coupled(loss: LossFn, make: Coupling, *, feature: str = "image", noise: str = "noise") -> LossFn:
    r"""A loss on coupled pairs: the one on data, which gets $x_0 = \Phi(z)$ and $\epsilon = z$ with $z \sim N(0, I)$.

    With the flow of an ODE for $\Phi$, and the squared error of the velocity on straight paths, this is reflow: the loss that
    rectifies the coupling $(\Phi(z), z)$. The pairs are made anew in each step, in place of the data of the batch.

    Args:
      loss: the loss on data, such as `denoising_score_matching(..., noise="noise")`.
      make: the function $\Phi$, which reads `state.params`, so that no loss has a gradient in its parameters.
      feature: the batch's feature whose shape the data have, and whose place they take.
      noise: the batch's feature that the noise becomes.

    Returns:
      The loss, with the metrics of the one on data.

    Source: Liu et al. 2023, equation 1 and algorithm 1; pairs made in training as by the authors' code, `train_online_reflow`.
    """

    def of_pairs(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Any, Aux]:
        own = keys.fold_in(keys.per_example(key, batch), keys.COUPLED)
        z = keys.draw(jax.random.normal, own, batch[feature].shape)
        x = jax.lax.stop_gradient(make(state, batch, z))
        return loss(params, state, {**batch, feature: x, noise: z}, key, train=train)

    return of_pairs
