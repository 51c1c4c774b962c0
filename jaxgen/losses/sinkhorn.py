"""The entropic cost of transport and the Sinkhorn divergence as losses: differentiable, compiled, with a fixed number of steps.

`metrics.transport` has the same values on the host, by POT and to a tolerance. Its loops cannot be a part of a compiled step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import InputError


class Transport(NamedTuple):
    """The solution of an entropic problem of transport.

    Fields:
      cost: the entropic cost.
      plan: the mass that goes from each point to each, `[n, m]`; its columns sum to the masses of the second set.
      marginal_error: the sum of the differences of the plan's rows from the masses of the first set, which is 0 where the
        iterations have converged.
    """

    cost: Float[Array, ""]
    plan: Float[Array, "n m"]
    marginal_error: Float[Array, ""]


def squared_distances(x: Float[Array, "n *event"], y: Float[Array, "m *event"]) -> Float[Array, "n m"]:
    r"""The costs $\|x_i - y_j\|^2$.

    >>> squared_distances(jnp.array([[0.0, 0.0]]), jnp.array([[3.0, 4.0], [1.0, 0.0]])).tolist()
    [[25.0, 1.0]]
    """
    x, y = (points.reshape(len(points), -1).astype(jnp.float32) for points in (x, y))
    # Differences, and not the binomial formula, whose cancellation small distances would feel.
    return jax.lax.map(lambda point: ((point - y) ** 2).sum(-1), x)


def entropic(
    cost: Float[Array, "n m"],
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
    *,
    epsilon: float,
    iterations: int = 100,
) -> Transport:
    r"""The entropic cost of transport, $\min_\pi \langle \pi, C \rangle + \varepsilon KL(\pi \| a \otimes b)$.

    By Sinkhorn's iterations on logarithms. The gradient in C is the plan, by the envelope theorem: the potentials are those of
    the last iteration and are not differentiated, so that memory does not grow with the iterations.

    Args:
      cost: the costs C of a unit of mass.
      a: the masses of the first set, which sum to 1; None is equal ones. Points of mass 0 take no part.
      b: the masses of the second set.
      epsilon: the strength of the regularisation, above 0, in the unit of the cost. The smaller it is against the largest cost,
        the more iterations it takes.
      iterations: the number of iterations.

    Returns:
      The cost, the plan and its error.

    Raises:
      InputError: if epsilon is not above 0.

    Source: Cuturi 2013; Feydy et al. 2019, sections 2 and 3.1.

    >>> near = entropic(jnp.array([[0.0, 1.0], [1.0, 0.0]]), epsilon=0.01)
    >>> near.plan.round(3).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    if not epsilon > 0:
        raise InputError(f"The strength of the regularisation is above 0; got epsilon {epsilon:g}.")
    n, m = cost.shape
    a = jnp.full(n, 1 / n) if a is None else a
    b = jnp.full(m, 1 / m) if b is None else b
    fixed, log_a, log_b = jax.lax.stop_gradient((cost / epsilon, jnp.log(a), jnp.log(b)))

    def rows(g: Array) -> Array:
        return -jax.nn.logsumexp(log_b + g - fixed, axis=1)

    def columns(f: Array) -> Array:
        return -jax.nn.logsumexp(log_a[:, None] + f[:, None] - fixed, axis=0)

    g = jax.lax.fori_loop(0, iterations, lambda _, g: columns(rows(g)), jnp.zeros(m))
    f = rows(g)
    g = columns(f)
    # Of logarithms, so that points without mass, whose potentials are large, have no plan either.
    plan = jnp.exp(log_a[:, None] + log_b + f[:, None] + g - fixed)
    value = epsilon * ((a * f).sum() + (b * g).sum())
    slope = (plan * (cost - jax.lax.stop_gradient(cost))).sum()  # 0, with the plan as its gradient
    return Transport(value + slope, plan, jnp.abs(plan.sum(1) - a).sum())


def sinkhorn_divergence(
    x: Float[Array, "n *event"],
    y: Float[Array, "m *event"],
    a: Float[Array, " n"] | None = None,
    b: Float[Array, " m"] | None = None,
    *,
    epsilon: float,
    iterations: int = 100,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""The Sinkhorn divergence, $OT_\varepsilon(x, y) - \frac 1 2 OT_\varepsilon(x, x) - \frac 1 2 OT_\varepsilon(y, y)$.

    The costs are squared distances. It is 0 for equal sets, and above 0 for others.

    Args:
      x: points.
      y: other points, in any number.
      a: the masses of x, which sum to 1; None is equal ones.
      b: the masses of y.
      epsilon: the strength of the regularisation, as in `entropic`.
      iterations: the number of iterations, as in `entropic`.

    Returns:
      The divergence, and the largest error of the three plans' marginals.

    Source: Genevay et al. 2018, equation 4; Feydy et al. 2019, equation 3.
    """
    found = [
        entropic(squared_distances(p, q), of_p, of_q, epsilon=epsilon, iterations=iterations)
        for p, of_p, q, of_q in ((x, a, y, b), (x, a, x, a), (y, b, y, b))
    ]
    across, of_x, of_y = (one.cost for one in found)
    return across - of_x / 2 - of_y / 2, jnp.stack([one.marginal_error for one in found]).max()
