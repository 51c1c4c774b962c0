r"""Ancestral sampling along $\gamma(t) = -\log \mathrm{SNR}(t)$, whose values may depend on what is learned."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgen.diffusion import Denoise
from jaxgen.samplers.march import march
from jaxgen.samplers.sampler import Sampler, Samples
from jaxgen.samplers.tables import Levels, Table


def table_of_gamma(gamma: Float[Array, " t"]) -> Table:
    r"""$z_s = \frac{\alpha_s}{\alpha_r} e^{\gamma_s - \gamma_r} z_r + \alpha_s c\, \hat x_0 + \sigma_s \sqrt c\, \epsilon$ with
    $c = 1 - e^{\gamma_s - \gamma_r}$, from time 1 to time 0.

    It is the posterior of the forward process with the predicted data. Unlike `tables.ancestral` it ends at z_0, which has
    noise too, and may be made of traced numbers, so in single precision: of differences of gamma, which do not cancel.

    Args:
      gamma: the values at the times 0, 1/T, ..., 1, ascending.

    Returns:
      The table of T steps; the times are those of gamma.

    Source: Kingma et al. 2021, equations 32 to 34, and the authors' code (`VDM.sample`).
    """
    steps = len(gamma) - 1
    s, r = gamma[-2::-1], gamma[:0:-1]
    alpha: Any
    sigma: Any
    alpha, sigma = (jnp.sqrt(jax.nn.sigmoid(sign * gamma)) for sign in (-1, 1))
    c = -jnp.expm1(s - r)
    level = Levels(np.arange(steps, 0, -1) / steps, alpha[:0:-1], sigma[:0:-1])
    to = alpha[-2::-1]
    return Table(level, to / alpha[:0:-1] * jnp.exp(s - r), (to * c)[:, None], sigma[-2::-1] ** 2 * c)


def along_gamma(gamma: Float[Array, " t"], decode: Callable[[Array], Array]) -> Sampler:
    r"""Samples by `table_of_gamma`, and reads the data from $z_0 / \alpha_0$.

    Args:
      gamma: the values at the times 0, 1/T, ..., 1, ascending.
      decode: the most probable data given $z_0 / \alpha_0$.

    Returns:
      The sampler. The last state of a trajectory is z_0.
    """
    walk = march(table_of_gamma(gamma))

    def sampler(denoise: Denoise, x_start: Array, key: PRNGKeyArray, *, trajectory: int = 0) -> Samples:
        found = walk(denoise, x_start, key, trajectory=trajectory)
        return found._replace(x=decode(found.x / jnp.sqrt(jax.nn.sigmoid(-gamma[0]))))

    return sampler
