r"""Noise schedules with parameters: $\gamma(t) = -\log \mathrm{SNR}(t)$ for t in [0, 1] as linen modules.

All are called as `module(t, *, ends=True, interior=True)`. The two flags say which parameters a gradient reaches, those of the
ends $\gamma(0)$ and $\gamma(1)$ or those of the way between them; they change no value. A gradient in t is there in any case.
`diffusion.from_gamma` makes a schedule of such a function.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

LOW, HIGH = -13.3, 5.0
"""The ends that the paper begins with, for images of 256 levels in [-1, 1]."""


class FixedGamma(nn.Module):
    r"""$\gamma(t) = \gamma_0 + (\gamma_1 - \gamma_0)\, t$, without parameters.

    Fields:
      low: the value $\gamma_0$ at t = 0.
      high: the value $\gamma_1$ at t = 1.

    >>> FixedGamma(-10.0, 6.0).apply({}, jnp.array([0.0, 0.25, 1.0])).tolist()
    [-10.0, -6.0, 6.0]

    Source: Kingma et al. 2021, the authors' code ("fixed").
    """

    low: float = LOW
    high: float = HIGH

    def __call__(self, t: Float[Array, "..."], *, ends: bool = True, interior: bool = True) -> Float[Array, "..."]:
        """Gamma at times t."""
        return self.low + (self.high - self.low) * t


class LinearGamma(nn.Module):
    r"""$\gamma(t) = b + |w|\, t$: a straight line whose ends are learned.

    Fields:
      low: the value at t = 0 to begin with.
      high: the value at t = 1 to begin with.

    Source: Kingma et al. 2021, the authors' code ("learnable_scalar").
    """

    low: float = LOW
    high: float = HIGH

    @nn.compact
    def __call__(self, t: Float[Array, "..."], *, ends: bool = True, interior: bool = True) -> Float[Array, "..."]:
        """Gamma at times t."""
        return _between(self, t, ends)


class MonotoneGamma(nn.Module):
    r"""$\gamma(t) = b + |w| \frac{m(t) - m(0)}{m(1) - m(0)}$ with a monotone network m: ends and interior are learned.

    $m(t) = |a|\, t + \frac 1 H \sum_h |v_h|\, (2\, \mathrm{sigmoid}(2 |u_h| (t - \frac 1 2) + c_h) - 1)$. The signs are taken
    off the weights, so m rises. Dividing by its range leaves the ends to b and w alone.

    Fields:
      low: the value at t = 0 to begin with.
      high: the value at t = 1 to begin with.
      features: the number H of hidden units.

    Source: Kingma et al. 2021, appendix H, and the authors' code ("learnable_nnet"), which has m itself in place of gamma.
    """

    low: float = LOW
    high: float = HIGH
    features: int = 1024

    @nn.compact
    def __call__(self, t: Float[Array, "..."], *, ends: bool = True, interior: bool = True) -> Float[Array, "..."]:
        """Gamma at times t."""
        small = nn.initializers.normal(0.01)

        def own(name: str, init: Any, *shape: int) -> Array:
            value = self.param(name, init, shape)
            return value if interior else lax.stop_gradient(value)

        slope = jnp.abs(own("a", nn.initializers.constant(self.high - self.low)))
        inner, shift = jnp.abs(own("u", small, self.features)), own("c", nn.initializers.zeros_init(), self.features)
        outer = jnp.abs(own("v", small, self.features)) / self.features

        def rising(t: Array) -> Array:
            hidden = 2 * jax.nn.sigmoid(2 * inner * (t[..., None] - 0.5) + shift) - 1
            return slope * t + (outer * hidden).sum(-1)

        first, last = rising(jnp.zeros(())), rising(jnp.ones(()))
        return _between(self, (rising(jnp.asarray(t)) - first) / (last - first), ends)


def _between(module: nn.Module, share: Array, ends: bool) -> Array:
    """The share of the way from one learned end to the other, $b + |w| s$."""
    low, high = module.low, module.high
    b = module.param("b", nn.initializers.constant(low), ())
    w = module.param("w", nn.initializers.constant(high - low), ())
    if not ends:
        b, w = lax.stop_gradient((b, w))
    return b + jnp.abs(w) * share
