"""What a network is told of an example beside the noisy data: labels, texts, images; and what it is told instead of nothing."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import keys
from jaxgen.types import Array, Batch, Key


class Told(NamedTuple):
    """Something that a network is told, by a keyword of its call.

    Fields:
      feature: the batch's feature.
      nothing: the value that stands for nothing, of the shape of one example's: the number after the last class, or the tokens
        of an empty text. None where nothing is never told.
      drop: the share of the training examples that are told nothing, so that one model learns the conditional and the
        unconditional score.

    Source: Ho & Salimans 2022, algorithm 1.
    """

    feature: str
    nothing: Any = None
    drop: float = 0.0


def tell(told: Mapping[str, Told], batch: Batch, key: Key | None = None) -> dict[str, Array]:
    """The keyword arguments of a network's call.

    Args:
      told: the features that the network is told, by keyword.
      batch: the batch, with the features that are told.
      key: the key or the keys `[B]` by which examples are told nothing; None tells all of them everything.

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
    """The same for examples that are told nothing at all, as the unconditional model is.

    Args:
      told: the features that the network is told, by keyword.
      batch: the batch, whose values give the shapes.

    Returns:
      For every example the value that stands for nothing, by keyword.

    >>> tell_nothing({"label": Told("class", nothing=10)}, {"class": jnp.array([3, 4])})["label"].tolist()
    [10, 10]
    """
    values = {keyword: (batch[one.feature], one.nothing) for keyword, one in told.items()}
    return {keyword: jnp.broadcast_to(jnp.asarray(no, of.dtype), of.shape) for keyword, (of, no) in values.items()}
