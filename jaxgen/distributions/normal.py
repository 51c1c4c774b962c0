"""The normal distribution."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxgen import keys
from jaxgen.distributions.event import sum_event


class Normal(NamedTuple):
    """Independent normal elements.

    Fields:
      mean: mu, `[...]`.
      std: sigma, broadcastable to the mean.

    >>> q = Normal(jnp.zeros((2, 3)), jnp.ones((2, 3)))
    >>> q.log_prob(jnp.zeros((2, 3))).shape
    (2, 3)
    """

    mean: Float[Array, "..."] | float = 0.0
    std: Float[Array, "..."] | float = 1.0

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""$\log N(x; \mu, \sigma^2) = -\frac{(x - \mu)^2}{2 \sigma^2} - \log \sigma - \frac 1 2 \log 2 \pi$, element-wise."""
        return -0.5 * ((x - self.mean) / self.std) ** 2 - jnp.log(self.std) - 0.5 * math.log(2 * math.pi)

    def sample(self, key: Key[Array, "..."], *, samples: int | None = None) -> Float[Array, "..."]:
        r"""$\mu + \sigma \epsilon$, $\epsilon \sim N(0, 1)$: differentiable in both (Kingma & Welling 2013, section 2.4).

        Args:
          key: the key of the draw: one key, or a key for each example, `[B]`, the first axis of the mean.
          samples: the number of samples k; the result then has a leading axis of that length.

        Returns:
          `[...]`, or `[k, ...]`.
        """
        shape = jnp.shape(self.mean) if samples is None else (samples, *jnp.shape(self.mean))
        normal = functools.partial(jax.random.normal, dtype=jnp.result_type(self.mean, jnp.float32))
        return self.mean + self.std * keys.draw(normal, key, shape, axis=0 if samples is None else 1)

    def sample_and_log_prob(
        self, key: Key[Array, "..."], *, samples: int
    ) -> tuple[Float[Array, "k b *event"], Float[Array, "k b"]]:
        """Samples of each example, and their log-densities: of an example, the sum over its elements.

        Args:
          key: the key of the draw: one key, or a key for each example, `[B]`.
          samples: the number of samples k.

        Returns:
          `[k, B, ...]` and `[k, B]`.
        """
        z = self.sample(key, samples=samples)
        # One row for each sample of each example, so that an example is summed as it is elsewhere.
        rows = self.log_prob(z).reshape(-1, *z.shape[2:])
        return z, sum_event(rows).reshape(z.shape[:2])

    def kl(self, other: "Normal") -> Float[Array, "..."]:
        r"""$KL(p \| q) = \log \frac{\sigma_q}{\sigma_p} + \frac{\sigma_p^2 + (\mu_p - \mu_q)^2}{2 \sigma_q^2} - \frac 1 2$.

        Source: Kingma & Welling 2013, appendix B, for a standard normal q.

        >>> Normal(jnp.array(1.0), jnp.array(1.0)).kl(Normal()).item()
        0.5
        """
        # The logarithm of the ratio and not of its square, which underflows first.
        ratio = self.std / other.std
        return 0.5 * (ratio**2 + ((self.mean - other.mean) / other.std) ** 2 - 1.0) - jnp.log(ratio)
