"""The normal distribution on the 256 levels of a byte."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Float


class DiscretizedNormal(NamedTuple):
    """A normal variable rounded to `levels` values that are spread evenly over [-1, 1], ends included.

    The outermost levels take the mass beyond them, so the probabilities of all levels sum to one.

    Fields:
      loc: mu, `[...]`.
      std: sigma, broadcastable to it.
      levels: number of values.

    >>> d = DiscretizedNormal(jnp.array(0.0), jnp.array(1.0))
    >>> round(jnp.exp(d.log_prob(jnp.linspace(-1, 1, 256))).sum().item(), 4)
    1.0
    """

    loc: Float[Array, "..."]
    std: Float[Array, "..."]
    levels: int = 256

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""$\log[\Phi(a) - \Phi(b)]$ with $a, b = (x \pm \frac{1}{255} - \mu) / \sigma$, element-wise.

        Computed on the side of the mean where both are small: in the other tail their difference would cancel. The code of
        Nichol & Dhariwal 2021 takes a tanh for Phi, which errs by up to 2e-4, and cuts probabilities at 1e-12; here Phi is
        exact in both tails. Source: Ho et al. 2020, equation 13.
        """
        loc, std = self.loc.astype(jnp.float32), self.std.astype(jnp.float32)
        half = 1.0 / (self.levels - 1)
        distance = jnp.abs(x - loc)
        upper, lower = log_ndtr((half - distance) / std), log_ndtr((-half - distance) / std)
        inside = upper + jnp.log1p(-jnp.exp(lower - upper))
        left, right = log_ndtr((x + half - loc) / std), log_ndtr((loc - x + half) / std)
        return jnp.where(x < -1 + half, left, jnp.where(x > 1 - half, right, inside))
