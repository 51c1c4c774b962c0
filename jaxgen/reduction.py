"""The one place where per-example values become means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import SizeError
from jaxgen.types import Array


# A dataclass and no NamedTuple: of a tuple, `2 * values` and `values + values` would be longer tuples.
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Weighted:
    r"""Values of examples that do not all count alike: their mean is $\sum_b w_b v_b / \sum_b w_b$.

    The sums run over the whole batch, on all devices and in all micro-batches, so the mean is that of the batch and no mean of
    means. Weights are constants of the gradient: they depend on the data and on draws, such as which tokens are masked, and
    what they might have of the parameters is not differentiated. A loss is one such ratio, and no sum of several that
    have different weights; each metric may have weights of its own.

    Fields:
      values: the values `[B]`; where the weight is zero, any number whose gradient is finite. Or a scalar that describes the
        whole batch.
      weights: the weights of the same shape, zero or more; numbers or booleans.

    >>> reduce(Weighted(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([3, 1, 0]))).value.item()
    1.5
    """

    values: Array
    weights: Array


Values: TypeAlias = Array | Weighted
"""The values of a loss or a metric: one value per example, `[B]`, or a scalar of the whole batch; with weights or without."""


def weighted_mean(values: Array, weights: Array) -> Weighted:
    r"""The mean over the parts of all examples, such as their masked tokens or matched boxes, each part with its weight.

    Of example b with parts i, the value is $v_b = \sum_i w_{bi} v_{bi} / w_b$ and the weight $w_b = \sum_i w_{bi}$. So the mean
    of a batch is $\sum_{bi} w_{bi} v_{bi} / \sum_{bi} w_{bi}$: every part counts alike, however many of them an example has.

    Args:
      values: the values of the parts, `[B, ...]`.
      weights: the weights of the parts, of the same shape; zero, or False, leaves a part out.

    Returns:
      Values and weights of the examples. An example without parts has the value 0 and the weight 0, and its gradient is 0 as
      well.

    >>> found = weighted_mean(jnp.array([[1.0, 2.0], [6.0, jnp.inf]]), jnp.array([[True, True], [True, False]]))
    >>> found.values.tolist(), found.weights.tolist(), reduce(found).value.item()
    ([1.5, 6.0], [2.0, 1.0], 3.0)
    """
    if values.shape != weights.shape or values.ndim < 1:
        raise SizeError(f"values of the shape {values.shape} have weights of the same shape [B, ...]; got {weights.shape}.")
    weights = jax.lax.stop_gradient(weights.astype(jnp.float32))
    parts = tuple(range(1, values.ndim))
    total, weight = jnp.where(weights > 0, weights * values.astype(jnp.float32), 0).sum(parts), weights.sum(parts)
    return Weighted(_divided(total, weight), weight)


def penalised(values: Values, penalty: Array) -> Values:
    """The values of a loss with a penalty that belongs to no example: one of the parameters alone, or of a whole batch.

    The mean over any batch is larger by the penalty, so that its gradient is added once, for any weights and any cut of
    the batch over devices and micro-batches. With `accumulate` a penalty of the parameters is computed in every
    micro-batch, which costs time and changes nothing; one of a batch, such as an entropy of its mean, is computed of every
    micro-batch by itself, which makes it another penalty. Where no example has a weight there is no loss, and no penalty.

    A loss that is nothing but a penalty returns the scalar.

    Args:
      values: the values `[B]`, with weights or without.
      penalty: the penalty, a scalar, multiplied by its coefficient.

    Returns:
      The values with the penalty.

    >>> penalised(jnp.array([1.0, 2.0]), jnp.array(0.5)).tolist()
    [1.5, 2.5]
    """
    if jnp.ndim(penalty):
        raise SizeError(f"a penalty is a scalar; got the shape {jnp.shape(penalty)}. Add one value an example to the values.")
    return Weighted(values.values + penalty, values.weights) if isinstance(values, Weighted) else values + penalty


class Mean(NamedTuple):
    """A mean under way: a sum and the weight behind it, so that unequal batches merge exactly.

    A weight of zero says "no value", which a guard can tell from a NaN.
    """

    total: Array
    weight: Array

    @property
    def value(self) -> Array:
        """Total / weight, and 0 where there is no value."""
        return _divided(self.total, self.weight)


Metrics = Mapping[str, Mean]


def reduce(values: Values, mask: Array | None = None) -> Mean:
    r"""Masked sum of per-example values, $(\sum_b m_b w_b v_b, \sum_b m_b w_b)$, in float32; without weights $w_b$ is 1.

    Args:
      values: the values `[B]`, one value per example; or a scalar that describes the whole batch. A scalar without a weight has
        that of the batch's examples.
      mask: the mask `[B]`, 1 for an example and 0 for padding; None means that every row is an example.

    Returns:
      The `Mean` of the batch. Padding is left out even where its value is not finite.

    >>> reduce(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1, 1, 0])).value.item()
    2.0
    """
    if isinstance(values, Weighted):
        values, weights = _checked(values, mask)
        return Mean(jnp.where(weights > 0, weights * values, 0.0).sum(), weights.sum())
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


class WeightedMoments(NamedTuple):
    r"""The sums from which a mean of weighted values, $R = \sum_b w_b v_b / \sum_b w_b$, and its standard error follow.

    Fields:
      count: examples, those of weight zero among them.
      weight: the sum of the weights $\sum_b w_b$.
      mean: the mean R; 0 where there is no weight.
      squared_weights: the sum $\sum_b w_b^2$; this and the next two are None for a scalar that describes a whole batch.
      deviations: the sum $\sum_b w_b^2 (v_b - R)$, which moves the squares to another mean.
      squares: the sum $\sum_b w_b^2 (v_b - R)^2$.
    """

    count: Any
    weight: Any
    mean: Any
    squared_weights: Any
    deviations: Any
    squares: Any

    @property
    def stderr(self) -> float | None:
        r"""The standard error of the ratio by the delta method; None for a scalar, a single example or without a weight.

        Pairs $(w_b, w_b v_b)$ of independent examples have the ratio of their means with the variance
        $\frac{n}{n - 1} \sum_b w_b^2 (v_b - R)^2 / (\sum_b w_b)^2$ to first order. With equal weights this is $s^2 / n$.

        Source: Cochran 1977, equation 2.46, without its finite population.
        """
        if self.squares is None or self.count < 2 or not self.weight > 0:
            return None
        return float(np.sqrt(self.squares * self.count / (self.count - 1)) / self.weight)


M = TypeVar("M", Moments, WeightedMoments)


def moments(values: Values, mask: Array | None = None) -> Moments | WeightedMoments:
    """The moments of a batch, in float32.

    Args:
      values: the values `[B]`, one value per example; or a scalar that describes the whole batch.
      mask: the mask `[B]`, 1 for an example and 0 for padding; None means that every row is an example.

    Returns:
      The moments. Padding is left out even where its value is not finite.

    >>> found = moments(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1, 1, 0]))
    >>> found.mean.item(), found.squares.item(), found.stderr
    (2.0, 2.0, 1.0)
    """
    whole = reduce(values, mask)
    if isinstance(values, Weighted):
        own, weights = _checked(values, mask)
        if own.ndim == 0:
            return WeightedMoments(whole.weight, whole.weight, whole.value, None, None, None)
        count = jnp.float32(own.shape[0]) if mask is None else mask.astype(bool).astype(jnp.float32).sum()
        away = jnp.where(weights > 0, own - whole.value, 0.0)
        return WeightedMoments(count, whole.weight, whole.value, *((weights**2 * away**k).sum() for k in range(3)))
    if values.ndim == 0:
        return Moments(whole.weight, whole.value, None)
    deviations = values.astype(jnp.float32) - whole.value
    # About the batch's own mean, so that nothing cancels however large it is.
    return Moments(whole.weight, whole.value, reduce(deviations**2, mask).total)


def together(a: M, b: M) -> M:
    """The moments of two sets of examples as those of one, in float64 on the host.

    Source: Chan, Golub & LeVeque 1983, equation 2.1.
    """
    if isinstance(a, WeightedMoments) and isinstance(b, WeightedMoments):
        return _weighted_together(a, b)
    if isinstance(a, WeightedMoments) or isinstance(b, WeightedMoments):
        raise TypeError("values with weights and without have no mean in common")
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


def _divided(total: Array, weight: Array) -> Array:
    """Total / weight, and 0 where there is no weight."""
    return total / jnp.where(weight > 0, weight, 1.0)


def _checked(of: Weighted, mask: Array | None) -> tuple[Array, Array]:
    """Values and weights in float32; the weights are constants, and zero for padding."""
    values, weights = of.values.astype(jnp.float32), jax.lax.stop_gradient(of.weights.astype(jnp.float32))
    if values.ndim > 1 or values.shape != weights.shape:
        raise ValueError(
            "a loss or metric has one value and one weight an example, [B], or is a scalar with a scalar weight; "
            f"got the shapes {values.shape} and {weights.shape}"
        )
    if values.ndim == 1 and mask is not None:
        weights = jnp.where(mask.astype(bool), weights, 0.0)
    return values, weights


def _weighted_together(a: WeightedMoments, b: WeightedMoments) -> WeightedMoments:
    v, w = np.float64(a.weight), np.float64(b.weight)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = np.float64(a.mean) + (np.float64(b.mean) - np.float64(a.mean)) * (w / (v + w) if v + w else np.float64(0.0))
        if a.squares is None or b.squares is None:
            return WeightedMoments(np.float64(a.count) + b.count, v + w, mean, None, None, None)
        sums = np.zeros(3)
        for part in (a, b):
            zeroth, first, second = (np.float64(x) for x in part[3:])
            shift = np.float64(part.mean) - mean
            # sum w^2 (v - R)^k about the new mean, from those about the part's own.
            sums += zeroth, first + shift * zeroth, second + 2 * shift * first + shift**2 * zeroth
        return WeightedMoments(np.float64(a.count) + b.count, v + w, mean, *sums)
