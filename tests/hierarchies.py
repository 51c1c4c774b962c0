"""Hierarchies of two linear Gaussian layers, whose evidence and posterior are known."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxgen.distributions import Normal
from jaxgen.models import vae

DIM, UNITS = 5, 3
W, V, SIGMA, TAU = 1.4, 0.9, 0.6, 0.7
"""x = w B z_1 + sigma e and z_1 = v R z_2 + tau e, with orthonormal columns B and a rotation R."""


class Linear(nn.Module):
    """The law N(A x, s^2); its parameters are fields, and it has one that changes nothing."""

    matrix: tuple[tuple[float, ...], ...]
    std: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Normal:
        nothing = self.param("nothing", nn.initializers.zeros_init(), ())
        mean = x @ jnp.array(self.matrix).T + 0.0 * nothing
        return Normal(mean, jnp.full_like(mean, self.std))


class Same(nn.Module):
    """The law of pixels that a decoder gave."""

    def __call__(self, law: Normal) -> Normal:
        return law


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(x) for x in row) for row in matrix)


_RNG = np.random.default_rng(0)
BASIS = np.linalg.qr(_RNG.normal(size=(DIM, UNITS)))[0]
R = np.linalg.qr(_RNG.normal(size=(UNITS, UNITS)))[0]
X = jnp.asarray(_RNG.normal(size=(6, UNITS)) @ (W * BASIS).T * 1.2 + SIGMA * _RNG.normal(size=(6, DIM)), jnp.float32)


def ladder(shift: float = 1.0, own: bool = False, **options: Any) -> vae.LadderVAE:
    """The ladder with the exact posterior; `shift` is a factor of its deviations that makes it another one."""
    seen = SIGMA / W  # the deviation of z_1 as x alone tells it
    whole = TAU**2 + seen**2
    gain = V**2 / whole + 1
    up = (Linear(_rows(BASIS.T / W), shift * seen), Linear(_rows(V / whole / gain * R.T), shift * gain**-0.5))
    down = (Linear(_rows(V * R), TAU),)
    merging = (Linear(_rows(V * R), TAU),) if own else ()
    return vae.LadderVAE(up, down, Linear(_rows(W * BASIS), SIGMA), Same(), merging, **options)


def markov(shift: float = 1.0) -> vae.MarkovVAE:
    """The chain from below with the exact posterior."""
    prior = V**2 + TAU**2
    first, second = W**2 / SIGMA**2 + 1 / prior, V**2 / TAU**2 + 1
    up = (
        Linear(_rows(W / SIGMA**2 / first * BASIS.T), shift * first**-0.5),
        Linear(_rows(V / TAU**2 / second * R.T), shift * second**-0.5),
    )
    return vae.MarkovVAE(up, (Linear(_rows(V * R), TAU),), Linear(_rows(W * BASIS), SIGMA), Same())


def evidence(x: np.ndarray) -> np.ndarray:
    """log p(x), `[B]`."""
    covariance = W**2 * (V**2 + TAU**2) * BASIS @ BASIS.T + SIGMA**2 * np.eye(DIM)
    return stats.multivariate_normal.logpdf(x, np.zeros(DIM), covariance)
