"""The logistic distribution on the 256 levels of a byte."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxgen import keys


class DiscretizedLogistic(NamedTuple):
    """A logistic variable rounded to `levels` values that are spread evenly over [-1, 1], ends included.

    The outermost levels take the mass beyond them, so the probabilities of all levels sum to one.

    Fields:
      loc: mu, `[...]`.
      log_scale: log s, broadcastable to it.
      levels: number of values.

    >>> d = DiscretizedLogistic(jnp.array(0.0), jnp.array(0.0))
    >>> round(jnp.exp(d.log_prob(jnp.linspace(-1, 1, 256))).sum().item(), 4)
    1.0
    """

    loc: Float[Array, "..."]
    log_scale: Float[Array, "..."]
    levels: int = 256

    @property
    def mean(self) -> Float[Array, "..."]:
        """The location, within [-1, 1]."""
        return jnp.clip(self.loc, -1.0, 1.0)

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""$\log[\sigma(a) - \sigma(b)]$ with $a, b = (x \pm \frac{1}{255} - \mu) / s$, element-wise.

        Computed as $\log \sigma(a) + \log \sigma(-b) + \log(1 - e^{b - a})$, which is exact where the difference of the two
        sigmoids would cancel. Source: Kingma et al. 2016 (IAF), section 5.2; Salimans et al. 2017, equation 2.
        """
        loc, log_scale = self.loc.astype(jnp.float32), self.log_scale.astype(jnp.float32)
        half = 1.0 / (self.levels - 1)
        upper = (x + half - loc) * jnp.exp(-log_scale)
        lower = (x - half - loc) * jnp.exp(-log_scale)
        width = 2 * half * jnp.exp(-log_scale)
        left, right = -jax.nn.softplus(-upper), -jax.nn.softplus(lower)
        inside = left + right + jnp.log(-jnp.expm1(-width))
        return jnp.where(x < -1 + half, left, jnp.where(x > 1 - half, right, inside))

    def sample(self, key: Key[Array, "..."]) -> Float[Array, "..."]:
        """Levels in [-1, 1], `[...]`, drawn with one key, or with a key for each example, `[B]`."""
        noise = keys.draw(jax.random.logistic, key, jnp.shape(self.loc))
        steps = (self.levels - 1) / 2
        # Counted from -1: with an even number of levels 0 is not one of them.
        return jnp.clip(jnp.round((self.loc + jnp.exp(self.log_scale) * noise + 1.0) * steps) / steps - 1.0, -1.0, 1.0)
