"""Conditions of a network, such as labels, texts and images: keyword arguments of its call, each with a null value."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import keys
from jaxgen.types import Array, Batch, Key


class Told(NamedTuple):
    """A condition of a network, which is a keyword argument of its call.

    Fields:
      feature: the batch's feature.
      nothing: the null value, which stands for no condition, of the shape of one example's: the number after the last class, or
        the tokens of an empty text. None where the condition is never dropped.
      drop: the share of the training examples whose condition is dropped, so that one model learns the conditional and the
        unconditional score.

    Source: Ho & Salimans 2022, algorithm 1.
    """

    feature: str
    nothing: Any = None
    drop: float = 0.0


def tell(told: Mapping[str, Told], batch: Batch, key: Key | None = None) -> dict[str, Array]:
    """The conditions of a batch, as keyword arguments of the network's call.

    Args:
      told: the conditions of the network, by keyword.
      batch: the batch, with the features of the conditions.
      key: the key or the keys `[B]` that draw which examples lose a condition; None drops no condition.

    Returns:
      The features by keyword.

    >>> told = {"label": Told("class", nothing=10, drop=0.5)}
    >>> tell(told, {"class": jnp.array([3, 4])})["label"].tolist()
    [3, 4]
    """
    found = {}
    for i, (keyword, (feature, nothing, drop)) in enumerate(told.items()):
        value = batch[feature]
        if key is not None and drop:
            dropped = keys.draw(jax.random.uniform, keys.fold_in(key, i), value.shape[:1]) < drop
            value = jnp.where(dropped.reshape(-1, *[1] * (value.ndim - 1)), jnp.asarray(nothing, value.dtype), value)
        found[keyword] = value
    return found


def tell_nothing(told: Mapping[str, Told], batch: Batch) -> dict[str, Array]:
    """The null values of all conditions for every example of a batch, as the unconditional model gets them.

    Args:
      told: the conditions of the network, by keyword.
      batch: the batch, whose values give the shapes.

    Returns:
      The null values by keyword, one for each example.

    >>> tell_nothing({"label": Told("class", nothing=10)}, {"class": jnp.array([3, 4])})["label"].tolist()
    [10, 10]
    """
    values = {keyword: (batch[one.feature], one.nothing) for keyword, one in told.items()}
    return {keyword: jnp.broadcast_to(jnp.asarray(no, of.dtype), of.shape) for keyword, (of, no) in values.items()}
