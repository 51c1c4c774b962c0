"""The one place where per-example values become means."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.types import Array


class Mean(NamedTuple):
    """A mean under way: a sum and the weight behind it, so that unequal batches merge exactly.

    A weight of zero says "no value", which a guard can tell from a NaN.
    """

    total: Array
    weight: Array

    @property
    def value(self) -> Array:
        """Total / weight, and 0 where there is no value."""
        return self.total / jnp.where(self.weight > 0, self.weight, 1.0)


Metrics = Mapping[str, Mean]


def reduce(values: Array, mask: Array | None = None) -> Mean:
    r"""Masked sum of per-example values, $(\sum_b m_b v_b, \sum_b m_b)$, in float32.

    Args:
      values: `[B]`, one value an example; or a scalar that describes the whole batch.
      mask: `[B]`, 1 for an example and 0 for padding; None means that every row is an example.

    Returns:
      The `Mean` of the batch. Padding is left out even where its value is not finite.

    >>> reduce(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1, 1, 0])).value.item()
    2.0
    """
    values = values.astype(jnp.float32)
    if values.ndim > 1:
        raise ValueError(f"a loss or metric has one value an example, [B], or is a scalar; got shape {values.shape}")
    if values.ndim == 0:
        weight = jnp.float32(1.0) if mask is None else mask.astype(jnp.float32).sum()
        return Mean(values * weight, weight)
    if mask is None:
        return Mean(values.sum(), jnp.float32(values.shape[0]))
    real = mask.astype(bool)
    return Mean(jnp.where(real, values, 0.0).sum(), real.astype(jnp.float32).sum())


def merge(a: Metrics, b: Metrics) -> Metrics:
    """The metrics of two batches as those of one."""
    return jax.tree.map(jnp.add, a, b)


def compute(metrics: Metrics) -> dict[str, float]:
    """Names and values on the host, without those that have no value."""
    host = jax.device_get(dict(metrics))
    return {name: float(mean.total / mean.weight) for name, mean in host.items() if mean.weight > 0}
