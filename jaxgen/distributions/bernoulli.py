"""The Bernoulli distribution."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxgen import keys


class Bernoulli(NamedTuple):
    """Independent binary elements.

    Fields:
      logits: log(p / (1 - p)), `[...]`.

    >>> Bernoulli(jnp.array(0.0)).log_prob(jnp.array(1.0)).item() == jnp.log(0.5).item()
    True
    """

    logits: Float[Array, "..."]

    @property
    def mean(self) -> Float[Array, "..."]:
        """The probability of a one."""
        return jax.nn.sigmoid(self.logits)

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""$x \log p + (1 - x) \log (1 - p)$, element-wise; for x in [0, 1] the negative cross-entropy."""
        logits = self.logits.astype(jnp.float32)
        return x * logits - jax.nn.softplus(logits)

    def sample(self, key: Key[Array, "..."]) -> Float[Array, "..."]:
        """Zeros and ones `[...]`, drawn with one key, or with a key for each example, `[B]`."""
        uniform = keys.draw(jax.random.uniform, key, jnp.shape(self.logits))
        return (uniform < self.mean).astype(jnp.float32)
