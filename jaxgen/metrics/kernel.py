"""Kernel distance between two sets of features: the squared maximum mean discrepancy, over random subsets."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class KernelDistance(NamedTuple):
    """What `distance` finds.

    Fields:
      mean: over the subsets; unbiased, so it may be below 0.
      std: over the subsets: of one of them, not of the mean.
    """

    mean: float
    std: float


def draw(n: int, *, subsets: int, size: int, seed: int) -> np.ndarray:
    """Which of n examples each subset holds, `[subsets, size]`: without repetition within one.

    Raises:
      ValueError: if there are fewer examples than a subset holds.
    """
    if n < size:
        raise ValueError(f"a subset of {size} cannot be drawn from {n} examples")
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(n, size, replace=False) for _ in range(subsets)])


def distance(
    a: Float[np.ndarray, "n d"],
    b: Float[np.ndarray, "m d"],
    of_a: Int[np.ndarray, "subsets size"],
    of_b: Int[np.ndarray, "subsets size"],
) -> KernelDistance:
    r"""Squared MMD under the polynomial kernel $k(x, y) = (x^\top y / d + 1)^3$, averaged over pairs of subsets.

    Args:
      a: features, one row an example.
      b: the other set's.
      of_a: the subsets of a, as `draw` gives them; the convention is 100 of 1,000.
      of_b: those of b.

    Returns:
      Mean and standard deviation over the subsets.

    >>> x = np.array([[0.0], [1.0], [2.0]], np.float32)
    >>> round(distance(x, x, np.array([[0, 1]]), np.array([[1, 2]])).mean, 6)
    9.5

    Source: Bińkowski et al. 2018, section 4; the estimator is that of Gretton et al. 2012, equation 3.
    """
    # In float64: what is left of three means of large numbers is small.
    with jax.enable_x64(True):
        values = [
            float(mmd(jnp.asarray(a[i], jnp.float64), jnp.asarray(b[j], jnp.float64))) for i, j in zip(of_a, of_b, strict=True)
        ]
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


@jax.jit
def mmd(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
    r"""The unbiased squared MMD.

    $\frac{1}{n(n-1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(y_i, y_j)
    - \frac{2}{nm} \sum_{i,j} k(x_i, y_j)$.
    """

    def kernel(a: Array, b: Array) -> Array:
        return (jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST) / a.shape[1] + 1) ** 3

    def within(a: Array) -> Array:
        gram = kernel(a, a)
        return (gram.sum() - jnp.trace(gram)) / (a.shape[0] * (a.shape[0] - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()
