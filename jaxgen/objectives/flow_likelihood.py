"""The likelihood of images under a flow: exact for what is dequantised, and a bound for the images themselves.

A model is any linen module `model(x, train=...) -> (z, log_det)` with standard normal latents, as those of
`jaxgen.models.flows` are.
"""

import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, UInt8

from jaxgen import keys
from jaxgen.data import dequantize
from jaxgen.distributions import Normal, sum_event
from jaxgen.evaluate import Measure
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params, Vars


def flow_likelihood(model: nn.Module, *, bits: int = 8, name: str = "model", feature: str = "image") -> LossFn:
    r"""The negative log-likelihood of images under a flow, $-\log p(x) = -\log N(f(x); 0, I) - \log |\det f'(x)|$, in nats.

    x are dequantised images in [0, 1), with noise that is drawn anew at each visit (`data.dequantize`). The likelihood that is
    reported is that of the images of $2^n$ levels, $-\log p(x) + D\, n \log 2$ for D numbers; its mean over the noise is an
    upper bound of their negative log-likelihood.

    Args:
      model: a flow.
      bits: the number of bits n that x was dequantised from; 0 for data that are real numbers.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metric `bits_per_dim`, the same in bits and divided by D.

    Source: Dinh et al. 2017, equation 2; Theis et al. 2016, section 3.1, for the bound.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch[feature]
        (z, log_det), vars = apply(model, params, state.vars, x, key=key, name=name, train=train)
        nll = x[0].size * bits * math.log(2) - _log_prob(z, log_det)
        return nll, Aux(vars, {"bits_per_dim": nll / (x[0].size * math.log(2))})

    return loss


def dequantised_bound(
    model: nn.Module,
    params: Params,
    vars: Vars,
    x: UInt8[Array, "b h w c"],
    key: Key,
    *,
    samples: int,
    bits: int = 8,
    name: str = "model",
) -> Float[Array, " b"]:
    r"""$\log \frac 1 k \sum_{i=1}^k p(x + u_i)$, a bound of the log-probability of images, which it rises to with k.

    With one sample its mean is the bound that `flow_likelihood` trains on.

    Args:
      model: a flow.
      params: parameters by name.
      vars: variables by name.
      x: images.
      key: the key of the noise: one key, or a key for each example, `[B]` (`keys.per_example`).
      samples: the number k of draws of the noise.
      bits: the number of bits of a pixel.
      name: the parameters' name.

    Returns:
      The log-probability of each image of $2^n$ levels, in nats.

    Source: Burda et al. 2015, equation 8, with u as the latent variable.
    """
    own = key if key.ndim else jax.random.split(key, len(x))

    def drawn(number: Array) -> Float[Array, " b"]:
        noise = keys.fold_in(own, number)
        dequantised = jax.vmap(dequantize(bits))({"image": x}, noise)["image"]
        (z, log_det), _ = apply(model, params, vars, dequantised, name=name)
        return _log_prob(z, log_det)

    total = jax.nn.logsumexp(lax.map(drawn, jnp.arange(samples)), axis=0)
    return total - math.log(samples) - x[0].size * bits * math.log(2)


def tighter_bits_per_dim(model: nn.Module, *, samples: int, bits: int = 8, name: str = "model") -> Measure:
    """The bound of several draws of the noise as an evaluated value, in bits a dimension.

    Args:
      model: a flow.
      samples: the number of draws of the noise for each image.
      bits: the number of bits of a pixel.
      name: the parameters' name.

    Returns:
      A measure of `tighter_bits_per_dim`, of batches of bytes.
    """

    def measure(state: TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        x, own = batch["image"], keys.per_example(key, batch)
        bound = dequantised_bound(model, state.params, state.vars, x, own, samples=samples, bits=bits, name=name)
        return {"tighter_bits_per_dim": -bound / (x[0].size * math.log(2))}

    return measure


def _log_prob(z: Array, log_det: Array) -> Float[Array, " b"]:
    return sum_event(jnp.asarray(Normal().log_prob(z))) + log_det.astype(jnp.float32)
