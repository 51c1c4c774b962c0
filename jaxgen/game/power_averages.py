r"""Averages whose weights are a power of the step, and averages of any width that are made of them after the training.

The weight of the parameters of step $\tau$ in the average at step t is $p_t(\tau) = \frac{\gamma + 1}{t^{\gamma + 1}}
\tau^\gamma$: the average becomes longer as the training does. Its relative width $\sigma_\mathrm{rel}$ is the standard
deviation of $\tau / t$. Averages of a few widths at a few steps span the profiles of others, which least squares finds.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array

WIDEST = 12**-0.5
"""The relative width of the plain mean of all steps, gamma = 0."""


def exponent(sigma_rel: float) -> float:
    r"""The exponent $\gamma$ of a relative width, the largest root of $\gamma^3 + 7 \gamma^2 + (16 - u) \gamma + 12 - u$.

    Args:
      sigma_rel: the width $\sigma_\mathrm{rel}$, above 0 and below $12^{-1/2}$; $u = \sigma_\mathrm{rel}^{-2}$.

    Returns:
      The exponent.

    Raises:
      ValueError: if the width is outside of its range.

    Source: Karras et al. 2024 (Analyzing and improving the training dynamics of diffusion models), equation 126.

    >>> round(exponent(0.1), 4), round(exponent(0.05), 4)
    (6.9372, 16.9722)
    """
    if not 0 < sigma_rel < WIDEST:
        raise ValueError(f"a relative width of {sigma_rel} is not above 0 and below {WIDEST:.4f}")
    u = sigma_rel**-2
    return float(np.roots([1.0, 7.0, 16.0 - u, 12.0 - u]).real.max())


def relative_width(gamma: float) -> float:
    r"""The relative width of an exponent, $\sqrt{(\gamma + 1) (\gamma + 2)^{-2} (\gamma + 3)^{-1}}$.

    Source: Karras et al. 2024, equation 123.

    >>> round(relative_width(exponent(0.1)), 6)
    0.1
    """
    return float(np.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))))


@dataclasses.dataclass(frozen=True)
class PowerFunction:
    r"""The decay of a power-function average, $\beta_t = (1 - 1/t)^{\gamma + 1}$ at step t = 1, 2, ...

    Fields:
      sigma_rel: the relative width of the profile; the paper keeps 0.05 and 0.1.

    Source: Karras et al. 2024, equation 127.

    >>> float(PowerFunction(0.1)(jnp.int32(0)))  # the first step has all the weight
    0.0
    """

    sigma_rel: float

    def __post_init__(self) -> None:
        exponent(self.sigma_rel)

    def weight(self, step: Array) -> Array:
        """The weight of what the step after `step` others made, which in float32 is more exact than 1 less its decay."""
        return -jnp.expm1((exponent(self.sigma_rel) + 1) * jnp.log1p(-1 / (step + 1).astype(jnp.float32)))

    def __call__(self, step: Array) -> Array:
        """The decay after `step` steps."""
        return 1 - self.weight(step)


def inner_products(steps: np.ndarray, gammas: np.ndarray, others: np.ndarray, others_gammas: np.ndarray) -> np.ndarray:
    r"""Inner products of profiles, $\int p_a p_b = \frac{(\gamma_a + 1) (\gamma_b + 1)}{\gamma_a + \gamma_b + 1}
    \frac{\min(t_a, t_b)^{\gamma}}{\max(t_a, t_b)^{\gamma + 1}}$, with $\gamma$ that of the profile that ends later.

    Args:
      steps: the steps t_a `[n]` at which profiles end.
      gammas: the exponents `[n]` of these profiles.
      others: the steps t_b `[m]` at which other profiles end.
      others_gammas: the exponents `[m]` of those profiles.

    Returns:
      The products `[n, m]`.

    Source: Karras et al. 2024, equation 151.
    """
    ta, a, tb, b = steps[:, None], gammas[:, None], others[None], others_gammas[None]
    ratio, power = np.minimum(ta, tb) / np.maximum(ta, tb), np.where(ta < tb, b, a)
    return (a + 1) * (b + 1) / (a + b + 1) * ratio**power / np.maximum(ta, tb)


def coefficients(steps: np.ndarray, widths: np.ndarray, step: float, width: float) -> tuple[np.ndarray, float]:
    """The coefficients with which averages at several steps, of several widths, sum up to one of another width.

    Args:
      steps: the steps `[n]` at which the averages were kept, 1 or more.
      widths: the relative widths `[n]` of these averages.
      step: the step at which the wanted average ends.
      width: the relative width of the wanted average.

    Returns:
      The coefficients `[n]`, whose sum is 1; and the error of the profile that they make, in a root mean square, as a share
      of the wanted profile's size.

    Source: Karras et al. 2024, algorithm 3.

    >>> of, error = coefficients(np.array([50.0, 100.0, 100.0]), np.array([0.1, 0.05, 0.1]), 100.0, 0.1)
    >>> bool(np.allclose(of, [0.0, 0.0, 1.0], atol=1e-6)), round(error, 6)
    (True, 0.0)
    """
    steps, gammas = np.asarray(steps, np.float64), np.array([exponent(float(one)) for one in widths])
    wanted = np.array([float(step)]), np.array([exponent(width)])
    products = inner_products(steps, gammas, steps, gammas)
    target = inner_products(steps, gammas, *wanted)[:, 0]
    found = np.linalg.lstsq(products, target, rcond=None)[0]
    found = found / found.sum()
    size = float(inner_products(*wanted, *wanted)[0, 0])
    squared = found @ products @ found - 2 * found @ target + size
    return found, float(np.sqrt(max(squared, 0.0) / size))
