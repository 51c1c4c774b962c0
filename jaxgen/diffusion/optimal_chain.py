r"""The shorter chain whose variational bound is the least, for a network that is trained: a shortest path over its steps.

The bound is a sum over the transitions of a chain. So the cost of a transition from t to s < t depends on no other step, and
the best chain of K steps is a shortest path of K - 1 edges from step T to step 1.
"""

import numpy as np
from jaxtyping import Float

from jaxgen.diffusion.schedules import Discrete, subsequence
from jaxgen.diffusion.variances import data_covariance
from jaxgen.errors import SizeError


def transition_costs(schedule: Discrete, power: Float[np.ndarray, " t"], *, largest: float = 1.0) -> Float[np.ndarray, " t t"]:
    r"""The cost of each transition in nats a dimension, with the reverse variance that fits the network best.

    From t to s it is $\frac 1 2 \log \frac{\tilde\beta + B^2\, \mathrm{Cov}(x_0 | x_t)}{\tilde\beta}$, where the posterior
    $q(x_s | x_t, x_0)$ has the variance $\tilde\beta$ and its mean the factor B of x_0.

    The covariance cannot fall as noise is added. Where the measured one does, the measurement or the network is in error, and
    the largest one at less noise is taken: else a path would jump from such a step for nothing. The authors spread steps evenly
    over the part of the chain where the measured power is above 1.

    Args:
      schedule: the chain of T steps.
      power: the power of the network's predicted noise at the chain's steps, `[T + 1]` (`noise_power`).
      largest: the variance that data of this range have at most.

    Returns:
      The costs, `[T + 1, T + 1]`, at [s, t]; infinite unless 0 < s < t.

    Source: Bao et al. 2022, section 4 and theorem 1, and the authors' code (`dp_seg`).

    >>> from jaxgen.diffusion import linear
    >>> transition_costs(linear(3), np.array([1.0, 1.0, 0.5, 0.0])).round(2).tolist()[1]
    [inf, inf, 1.42, 1.7]
    """
    covariance = np.maximum.accumulate(data_covariance(schedule, np.asarray(power, np.float64), largest=largest))
    a, b = np.meshgrid(np.arange(schedule.steps + 1), np.arange(schedule.steps + 1), indexing="ij")
    s, t = np.minimum(a, b), np.maximum(a, b)
    alpha, variance = schedule.alpha, schedule.sigma**2
    with np.errstate(divide="ignore", invalid="ignore"):
        added = variance[t] - (alpha[t] / alpha[s]) ** 2 * variance[s]
        posterior = added * variance[s] / variance[t]
        cost = 0.5 * np.log1p((alpha[s] * added / variance[t]) ** 2 * covariance[t] / posterior)
    return np.where((a > 0) & (a < b), cost, np.inf)


def cheapest_steps(costs: Float[np.ndarray, " t t"], steps: int) -> np.ndarray:
    """The steps of the path from the last step to step 1 that costs the least, by dynamic programming.

    Args:
      costs: the cost of each transition, at [s, t], infinite where there is none.
      steps: the number of steps K of the path, both ends included.

    Returns:
      The steps, ascending from 1 to T.

    Raises:
      SizeError: if a path cannot have as many steps.

    >>> cheapest_steps(np.array([[9, 9, 9, 9], [9, 9, 1, 5], [9, 9, 9, 1], [9, 9, 9, 9.0]]), 3).tolist()
    [1, 2, 3]
    """
    last = len(costs) - 1
    if not (2 <= steps <= last or steps == last == 1):
        raise SizeError(f"A chain of {last} steps has no path of {steps} from its last to its first; give from 2 to {last}.")
    reached = np.full(last + 1, np.inf)
    reached[1] = 0.0
    came_from = []
    for _ in range(steps - 1):
        through = reached[:, None] + costs
        came_from.append(through.argmin(0))
        reached = through.min(0)
    path = [last]
    for before in reversed(came_from):
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


def optimal_chain(schedule: Discrete, power: Float[np.ndarray, " t"], steps: int, *, largest: float = 1.0) -> Discrete:
    """The chain through some of a chain's steps whose variational bound is the least for a network.

    Args:
      schedule: the chain that the network was trained on.
      power: the power of its predicted noise, `[T + 1]` (`noise_power`).
      steps: the number of steps, the first and the last of the chain included.
      largest: the variance that data of this range have at most.

    Returns:
      The shorter chain. For samples it is no better than evenly spaced steps, as the authors found.

    Raises:
      SizeError: if the chain has fewer steps.

    Source: Bao et al. 2022, section 4.
    """
    return subsequence(schedule, cheapest_steps(transition_costs(schedule, power, largest=largest), steps))
