"""Reconstruction with a penalty on the Jacobian of the code."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import keys
from jaxgen.distributions import sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params


def squared_jacobian(encode: Callable[[Array], Array], x: Array, key: Key | None = None) -> Array:
    r"""$\|J\|_F^2$ of an encoder at each example, exactly or as an estimate without bias.

    Exactly it is $\sum_j \|e_j^\top J\|^2$, one backward pass a unit; the estimate is $\|v^\top J\|^2$ with $v \sim N(0, I)$,
    one backward pass. No derivative is taken forwards, which convolutions on a CPU do not have.

    Args:
      encode: the encoder, `x [B, ...] -> z [B, M]`, of which no example depends on another.
      x: the examples.
      key: the key of the estimate, one or a key for each example; None computes it exactly.

    Returns:
      One value per example, `[B]`.

    Source: Rifai et al. 2011, equation 3; Hutchinson 1990.

    >>> squared_jacobian(lambda x: x @ jnp.array([[1.0, 2.0], [0.0, 3.0]]), jnp.zeros((1, 2))).tolist()
    [14.0]
    """
    z, back = jax.vjp(encode, x)

    def size(v: Array) -> Array:
        return sum_event(back(v.astype(z.dtype))[0] ** 2)

    if key is not None:
        return size(keys.draw(jax.random.normal, key, z.shape))
    units = jnp.broadcast_to(jnp.eye(z.shape[1])[:, None], (z.shape[1], *z.shape))
    return jax.lax.map(size, units).sum(0)


def contractive(model: nn.Module, weight: float, *, exact: bool = True, name: str = "model", feature: str = "image") -> LossFn:
    r"""$-\log p(x | z = f(x)) + \lambda \|J_f(x)\|_F^2$, with the log-likelihood summed over the pixels.

    Args:
      model: a linen module that maps x to a distribution over x, with a method `encode`. Its own `squared_jacobian(x)` is taken
        where it has one.
      weight: the weight lambda.
      exact: whether the norm is computed exactly, and not estimated, where the model has no formula of its own.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metrics `squared_error` and `squared_jacobian`.

    Source: Rifai et al. 2011, equation 4.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch[feature]
        p, vars = apply(model, params, state.vars, x, key=key, name=name, train=train)

        def encode(x: Array) -> Array:
            return apply(model, params, state.vars, x, name=name, method="encode")[0]

        if hasattr(model, "squared_jacobian"):
            norm = apply(model, params, state.vars, x, name=name, method="squared_jacobian")[0]
        else:
            norm = squared_jacobian(encode, x, None if exact else keys.per_example(key, batch))
        metrics = {"squared_error": sum_event((x - p.mean) ** 2), "squared_jacobian": norm}
        return -sum_event(p.log_prob(x)) + weight * norm, Aux(vars, metrics)

    return loss
