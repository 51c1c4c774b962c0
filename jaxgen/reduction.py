"""The one place where per-example values become means."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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
      values: the values `[B]`, one value an example; or a scalar that describes the whole batch.
      mask: the mask `[B]`, 1 for an example and 0 for padding; None means that every row is an example.

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


class Moments(NamedTuple):
    r"""Count, mean and sum of squared deviations of per-example values: what a mean and its standard error follow from.

    Fields:
      count: examples.
      mean: the mean of their values.
      squares: the sum of squares $\sum_b (v_b - \bar v)^2$; None for a scalar that describes a whole batch, which has no spread
        over examples.
    """

    count: Any
    mean: Any
    squares: Any

    @property
    def stderr(self) -> float | None:
        r"""The standard error of the mean over independent examples, $s / \sqrt n$; None for a scalar or a single example."""
        if self.squares is None or self.count < 2:
            return None
        return float(np.sqrt(self.squares / (self.count - 1) / self.count))


def moments(values: Array, mask: Array | None = None) -> Moments:
    """The moments of a batch, in float32.

    Args:
      values: the values `[B]`, one value an example; or a scalar that describes the whole batch.
      mask: the mask `[B]`, 1 for an example and 0 for padding; None means that every row is an example.

    Returns:
      The moments. Padding is left out even where its value is not finite.

    >>> found = moments(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1, 1, 0]))
    >>> found.mean.item(), found.squares.item(), found.stderr
    (2.0, 2.0, 1.0)
    """
    whole = reduce(values, mask)
    if values.ndim == 0:
        return Moments(whole.weight, whole.value, None)
    deviations = values.astype(jnp.float32) - whole.value
    # About the batch's own mean, so that nothing cancels however large it is.
    return Moments(whole.weight, whole.value, reduce(deviations**2, mask).total)


def together(a: Moments, b: Moments) -> Moments:
    """The moments of two sets of examples as those of one, in float64 on the host.

    Source: Chan, Golub & LeVeque 1983, equation 2.1.
    """
    n, m = np.float64(a.count), np.float64(b.count)
    with np.errstate(invalid="ignore", over="ignore"):  # a value that is not finite makes one that is not, and no warning
        shift = np.float64(b.mean) - np.float64(a.mean)
        weight = m / (n + m) if n + m else np.float64(0.0)
        mean = np.float64(a.mean) + shift * weight
        if a.squares is None or b.squares is None:
            return Moments(n + m, mean, None)
        return Moments(n + m, mean, np.float64(a.squares) + np.float64(b.squares) + shift**2 * n * weight)


def compute(metrics: Metrics) -> dict[str, float]:
    """Names and values on the host, without those that have no value."""
    host = jax.device_get(dict(metrics))
    return {name: float(mean.total / mean.weight) for name, mean in host.items() if mean.weight > 0}
