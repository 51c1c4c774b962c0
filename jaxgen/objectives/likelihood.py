"""The likelihood of grids of codes under an autoregressive model.

A model is any linen module whose call `model(codes, label, train=...)` gives the logits of every position given the codes
before it, as those of `jaxgen.models.autoregressive` do. One that is conditioned on a coarser grid is called with `above=...`.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int, Integer

from jaxgen.errors import InputError
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.classification import cross_entropy
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params, Vars

Codes = Callable[[TrainState, Batch], Array]
"""`codes(state, batch) -> [B, h, w]`, integers from 0 to K - 1."""


def code_likelihood(
    model: nn.Module,
    *,
    codes: Codes | None = None,
    condition: str | None = None,
    above: Codes | None = None,
    name: str = "model",
    feature: str = "code",
) -> LossFn:
    r"""The negative log-likelihood of a grid of codes, $-\sum_i \log p(x_i | x_1 ... x_{i-1}, y)$, in nats.

    It is exact: one pass gives all terms, since each is conditioned on the codes of the data. The codes are a feature of the
    batch, or a function makes them. Of the levels of an image it is `lambda state, batch: levels_of(batch["image"], 16)`. A
    frozen VQ-VAE is in the state under a name of its own, `state.params["autoencoder"]` and `state.vars["autoencoder"]`, and
    its codes come from `apply(vqvae, state.params, state.vars, batch["image"], name="autoencoder", method=...)`.

    Args:
      model: a linen module that maps codes `[B, h, w]`, and a label `[B]` if it has one, to logits `[B, h, w, K]`.
      codes: a function of the state and the batch that gives the codes; by default the batch has them.
      condition: the batch's feature that the model is conditioned on, such as the label.
      above: a function of the state and the batch that gives the codes of the grids above, which the model is conditioned on.
        Of a hierarchy, the likelihoods of the grids, each given the one above it, add up to that of all codes.
      name: the parameters' name.
      feature: the batch's feature of codes, where there is no such function.

    Returns:
      A loss with the metric `bits_per_code`: the same in bits, divided by the number of codes of a grid. Where the codes are
      the 256 levels of an image, these are its bits per dimension. An example with a number that is no code has a loss of nan.

    Raises:
      InputError: when the loss is called, if the codes are no grids of integers.

    Source: van den Oord et al. 2016 (Pixel recurrent neural networks), equation 1; for codes van den Oord et al. 2017
    (VQ-VAE), section 3.3.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = _whole(batch[feature] if codes is None else codes(state, batch))
        told = () if condition is None else (batch[condition],)
        higher = {} if above is None else {"above": _whole(above(state, batch))}
        logits, vars = apply(model, params, state.vars, x, *told, key=key, name=name, train=train, told=higher)
        nll = _nats(logits, x)
        return nll, Aux(vars, {"bits_per_code": nll / (math.log(2) * x[0].size)})

    return loss


def log_prob(
    model: nn.Module,
    params: Params,
    vars: Vars,
    codes: Integer[Array, "b h w"],
    label: Array | None = None,
    above: Integer[Array, "b h2 w2"] | None = None,
    *,
    name: str = "model",
) -> Float[Array, " b"]:
    """The log-likelihood of grids of codes, in nats.

    Args:
      model: the module that was trained.
      params: parameters by name.
      vars: variables by name.
      codes: the codes.
      label: the classes of the grids, where the model is conditioned on them.
      above: the codes of the grids above, where the model is conditioned on them.
      name: the parameters' name.

    Returns:
      One value per grid; nan if it holds a number that is no code.

    Raises:
      InputError: if the codes are no grids of integers.
    """
    codes, told = _whole(codes), () if label is None else (label,)
    higher = {} if above is None else {"above": _whole(above)}
    return -_nats(apply(model, params, vars, codes, *told, name=name, told=higher)[0], codes)


def _whole(codes: Array) -> Array:
    """The codes in int32, from integers of any type."""
    if not jnp.issubdtype(codes.dtype, jnp.integer) or codes.ndim != 3:
        raise InputError(
            f"Codes are integers [B, h, w], and not {codes.dtype} of the shape {tuple(codes.shape)}; "
            "make them of images by `levels_of`, or by the encoder of a quantised autoencoder."
        )
    return codes.astype(jnp.int32)


def _nats(logits: Float[Array, "b h w k"], codes: Int[Array, "b h w"]) -> Float[Array, " b"]:
    k = logits.shape[-1]
    return cross_entropy(logits.reshape(-1, k), codes.reshape(-1)).reshape(len(codes), -1).sum(-1)
