"""Reconstruction of the clean input from a corrupted one, of an image or of a layer's units; and the corruptions."""

from collections.abc import Callable
from typing import TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import keys
from jaxgen.distributions import sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.objectives.apply import apply
from jaxgen.types import Array, Batch, Key, Params

Corruption: TypeAlias = Callable[[Key, Array], Array]
"""`corrupt(key, x [B, ...]) -> [B, ...]`, with one key, or with a key for each example."""


def masking(share: float) -> Corruption:
    """Sets each number to zero with a probability, and leaves the others as they are.

    Args:
      share: the probability c.

    Returns:
      The corruption. Unlike dropout it does not make up for what is lost.

    Source: Vincent et al. 2008, section 2.3.

    >>> left = masking(0.25)(jax.random.key(0), jnp.ones((1, 10_000))).mean()
    >>> bool(abs(left - 0.75) < 0.02)
    True
    """

    def corrupt(key: Key, x: Array) -> Array:
        return jnp.where(keys.draw(jax.random.uniform, key, x.shape) < share, 0.0, x)

    return corrupt


def salt_and_pepper(share: float, *, low: float = 0.0, high: float = 1.0) -> Corruption:
    """Sets each number to the lowest or to the highest value, with a probability of c / 2 each.

    Args:
      share: the probability c.
      low: the lowest value.
      high: the highest value.

    Returns:
      The corruption.

    Source: Vincent et al. 2010, section 3.3.
    """

    def corrupt(key: Key, x: Array) -> Array:
        u = keys.draw(jax.random.uniform, key, x.shape)
        return jnp.where(u < share / 2, low, jnp.where(u < share, high, x))

    return corrupt


def gaussian_noise(std: float) -> Corruption:
    r"""Adds noise $N(0, s^2)$ to each number.

    Args:
      std: the standard deviation s.

    Returns:
      The corruption.

    Source: Vincent et al. 2010, section 3.3.
    """
    return lambda key, x: x + std * keys.draw(jax.random.normal, key, x.shape)


def denoising(model: nn.Module, corrupt: Corruption, *, name: str = "model", feature: str = "image") -> LossFn:
    r"""The negative log-likelihood of the clean input by the code of a corrupted one, $-\log p(x | z = f(\tilde x))$.

    Each example is corrupted anew whenever it is seen in training. Outside of training the input is clean.

    Args:
      model: a linen module that maps x to a distribution over x.
      corrupt: the corruption.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metric `squared_error`, the sum over pixels of $(x - E[x | z])^2$.

    Source: Vincent et al. 2008, equation 5.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch[feature]
        given = corrupt(keys.per_example(key, batch), x) if train else x
        p, vars = apply(model, params, state.vars, given, key=key, name=name, train=train)
        return -sum_event(p.log_prob(x)), Aux(vars, {"squared_error": sum_event((x - p.mean) ** 2)})

    return loss


def layer_denoising(
    model: nn.Module, layer: int, corrupt: Corruption, *, name: str = "model", feature: str = "image"
) -> LossFn:
    r"""The negative log-likelihood of one layer's clean input by the units of a corrupted one, $-\log p(h | f(\tilde h))$.

    The input h is what the layers below make of the clean example. Nothing but the layer itself has a gradient.

    Args:
      model: a stack, such as `models.autoencoders.StackedAutoencoder`: its `encode` gives the units below a layer, and its
        `denoise` the distribution of the layer's input.
      layer: the number of the layer, from 0.
      corrupt: the corruption of the layer's input. Outside of training it is clean.
      name: the parameters' name.
      feature: the batch's feature x.

    Returns:
      A loss with the metric `squared_error`, the sum over the layer's inputs of $(h - E[h | f(\tilde h)])^2$.

    Source: Vincent et al. 2010; deep learning tutorials, `code/SdA.py`.
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        below, _ = apply(model, params, state.vars, batch[feature], layer, name=name, method="encode")
        h = jax.lax.stop_gradient(below)
        given = corrupt(keys.per_example(key, batch), h) if train else h
        p, vars = apply(model, params, state.vars, given, layer, key=key, name=name, method="denoise", train=train)
        return -sum_event(p.log_prob(h)), Aux(vars, {"squared_error": sum_event((h - p.mean) ** 2)})

    return loss
