"""Exact plans of transport with their prices, and the transport of normal laws, in closed form."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxgen.metrics import transport


class Plan(NamedTuple):
    r"""The best coupling of two sets of points, and the potentials that prove it.

    Fields:
      mass: the mass that goes from each point to each, `[n, m]`.
      f: the potentials of the first set, `[n]`.
      g: the potentials of the second set, `[m]`. $f_i + g_j \leq c_{ij}$, with equality wherever mass goes.
      cost: the cost of the plan, $\sum_{ij} \pi_{ij} c_{ij}$; the mean of f and the mean of g sum to it.
    """

    mass: np.ndarray
    f: np.ndarray
    g: np.ndarray
    cost: float


def plan(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], *, p: float | int = 2) -> Plan:
    r"""The coupling of two sets of equal weights of the least cost $\sum_{ij} \pi_{ij} |x_i - y_j|^p$, exactly.

    Args:
      x: points.
      y: other points, in any number.
      p: the power of the Euclidean distance, one or more.

    Returns:
      The plan. Of equally many points it is a permutation over n. For p = 1 the potentials are the values of the function of
      slope 1 that Kantorovich's dual looks for, and those of y its negatives.

    Raises:
      ValueError: if p is below one, or a point is not finite.
      UserError: if POT is not installed.

    Source: Kantorovich 1942; Villani 2009, theorem 5.10.

    >>> plan(np.array([[0.0], [1.0]]), np.array([[5.0], [2.0]])).mass.tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    cost = transport.costs(x, y, p)
    a, b = (np.full(len(points), 1 / len(points)) for points in (x, y))
    mass, log = transport.pot().emd(a, b, cost, numItermax=100_000_000, log=True)
    return Plan(mass, log["u"], log["v"], float(log["cost"]))


def gaussian_map(
    mean: Float[np.ndarray, " d"],
    covariance: Float[np.ndarray, "d d"],
    other_mean: Float[np.ndarray, " d"],
    other_covariance: Float[np.ndarray, "d d"],
) -> tuple[np.ndarray, np.ndarray]:
    r"""The map $T(x) = A x + b$ that carries one normal law to another at the least squared distance.

    $A = S^{-1/2} (S^{1/2} R S^{1/2})^{1/2} S^{-1/2}$ and $b = r - A m$, for N(m, S) and N(r, R). A is symmetric, so T is the
    gradient of a convex function. Its cost is the squared Fréchet distance (`metrics.frechet.distance`).

    Args:
      mean: the mean m.
      covariance: the covariance S, of full rank.
      other_mean: the mean r.
      other_covariance: the covariance R.

    Returns:
      A and b.

    Source: Gelbrich 1990; Peyré & Cuturi 2019, remark 2.31.

    >>> gaussian_map(np.zeros(1), np.eye(1), np.ones(1), 4 * np.eye(1))
    (array([[2.]]), array([1.]))
    """
    values, vectors = np.linalg.eigh(covariance)
    if values.min() <= 0:
        raise ValueError("a normal law that is carried elsewhere has a covariance of full rank")
    root, inverse = (vectors * values**power @ vectors.T for power in (0.5, -0.5))
    inner, turned = np.linalg.eigh(root @ other_covariance @ root)
    a = inverse @ (turned * np.sqrt(inner.clip(0.0)) @ turned.T) @ inverse
    return a, other_mean - a @ mean
