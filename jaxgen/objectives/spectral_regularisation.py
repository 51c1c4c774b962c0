"""Any loss with a penalty on a steep network: on the singular values of kernels and the scales of normalisations."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.spectral import first_vectors, spectral_norms
from jaxgen.reduction import Weighted, penalised
from jaxgen.types import Batch, Key, Params, PyTree, Schedule

SPECTRAL = "spectral"
"""The variable of the singular vectors in a state; of a player whose loss is penalised, its rule is `merging.same`."""


def spectral_state(kernels: Mapping[str, Array], key: Key) -> dict[str, Any]:
    """The singular vectors of a state that begins, `{SPECTRAL: spectral_state(...)}`.

    Args:
      kernels: the first kernels by name.
      key: the key of the vectors that the first iterations begin with.

    Returns:
      The vectors after the last step, those before it, and the number of that step.
    """
    vectors = first_vectors(kernels, key)
    return {"after": vectors, "before": vectors, "step": jnp.zeros((), jnp.int32)}


def spectrally_regularised(
    loss: LossFn,
    kernels: Callable[[PyTree], Mapping[str, Array]],
    scales: Callable[[PyTree], Mapping[str, Array]],
    *,
    weight: float | Schedule,
    iterations: int = 4,
    name: str = "model",
) -> LossFn:
    r"""A loss plus $\lambda (\sum_k \sigma_1(W_k) + \sum_n \max_c |\gamma_{nc}|)$ of one network, in training.

    The vectors of the power iteration are a variable of the state, and move once a step: each micro-batch of a step iterates
    from the vectors before the step, so the penalty is the same with any `accumulate`, and on all replicas, which have the same
    parameters.

    Args:
      loss: the loss.
      kernels: a function from the network's parameters to the kernels W that it convolves with, by name.
      scales: a function from them to the scales $\gamma$ of its normalisations, by name.
      weight: the weight $\lambda$, or a schedule of the step.
      iterations: power iterations in each step.
      name: the name of the network.

    Returns:
      A loss with the further metrics `spectral_norms` and `largest_scales`, the two sums.

    Source: Vahdat & Kautz 2020, section 3.2, equation 4; the scales are from their code, train.py (`batchnorm_loss`).
    """

    def whole(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array | Weighted, Aux]:
        values, aux = loss(params, state, batch, key, train=train)
        if not train:
            return values, aux
        kept = state.vars[SPECTRAL]
        again = kept["step"] == state.step + 1
        start = jax.tree.map(lambda before, after: jnp.where(again, before, after), kept["before"], kept["after"])
        norms, vectors = spectral_norms(kernels(params[name]), start, iterations=iterations)
        steep = sum((jnp.abs(scale).max() for scale in scales(params[name]).values()), start=jnp.zeros(()))
        factor = weight(state.step) if callable(weight) else weight
        moved = {SPECTRAL: {"after": vectors, "before": start, "step": state.step.astype(jnp.int32) + 1}}
        metrics = {**aux.metrics, "spectral_norms": norms, "largest_scales": steep}
        return penalised(values, factor * (norms + steep)), Aux({**aux.vars, **moved}, metrics)

    return whole
