"""Diversity: how far samples lie apart, against how far examples of the data do. It falls to 0 where a generator collapses."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from jaxgen.errors import InputError
from jaxgen.metrics.inputs import check_finite

LARGEST = 2**24
"""Numbers that are held in float64 at once."""


class Spread(NamedTuple):
    r"""The result of `spread`.

    Fields:
      distance: the mean squared distance $E \|x - x'\|^2$ of two independent examples.
      stderr: the standard error of the distance over the examples.
    """

    distance: float
    stderr: float


def spread(x: Num[np.ndarray, "n ..."], name: str = "samples") -> Spread:
    r"""The mean squared distance of two examples of a law, without bias from n of them.

    It is twice the total variance, $E \|x - x'\|^2 = 2 \operatorname{tr} \operatorname{Cov} x$, which is estimated by
    $\frac 2 {n - 1} \sum_i \|x_i - \bar x\|^2$: the mean over all pairs of different examples.

    Args:
      x: the examples, two or more.
      name: the name of the examples, for the message.

    Returns:
      The distance in the squared unit of x, and its standard error to first order, $2 s / \sqrt n$ with the deviation s of
      $\|x_i - \bar x\|^2$.

    Raises:
      InputError: if a number is not finite, or there are fewer than two examples.

    >>> spread(np.array([[0.0], [2.0]])).distance
    4.0
    """
    n = len(x)
    if n < 2:
        raise InputError(f"A distance takes two examples, and {name} are {n}; give two or more.")
    check_finite(**{name.replace(" ", "_"): x})
    flat, rows = x.reshape(n, -1), max(1, LARGEST // max(1, x[0].size))
    parts = range(0, n, rows)
    # About the first example, so that equal ones have a distance of exactly zero.
    first = flat[0].astype(np.float64)
    centre = sum(((flat[i : i + rows] - first).sum(0) for i in parts), np.zeros_like(first)) / n
    squares = np.concatenate([((flat[i : i + rows] - first - centre) ** 2).sum(1) for i in parts])
    return Spread(2 * float(squares.sum()) / (n - 1), 2 * float(squares.std(ddof=1)) / math.sqrt(n))


def diversity(samples: Spread, data: Spread) -> tuple[float, float]:
    r"""The mean squared distance of two samples over that of two examples of the data.

    $E \|G(z) - G(z')\|^2 / E \|x - x'\|^2$ is 1 where the law of the data is learned and 0 where all samples are one. It does
    not depend on the unit or the origin of x. Other laws may have the value 1 too, such as noise, and samples that leave out
    a part of the data; above 1 samples lie farther apart than the data. It watches a training and compares no models.

    Args:
      samples: the spread of samples.
      data: the spread of examples of the data, in the same unit.

    Returns:
      The ratio, and its standard error over both sets of examples by the delta method.

    Raises:
      InputError: if all examples of the data are equal.

    >>> diversity(spread(np.array([[0.0], [1.0]])), spread(np.array([[0.0], [2.0]])))[0]
    0.25
    """
    if not data.distance > 0:
        raise InputError("All examples of the data are equal, and samples cannot lie farther apart or nearer; give others.")
    ratio = samples.distance / data.distance
    return ratio, math.hypot(samples.stderr, ratio * data.stderr) / data.distance
