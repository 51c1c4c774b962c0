"""A normal distribution that invertible steps transform: a posterior whose density is known at its own samples."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from jaxgen.distributions.normal import Normal
from jaxgen.errors import UserError

Step = Callable[..., tuple[Array, Array]]
"""`step(z [..., d], *parameters) -> (f(z) [..., d], log |det df/dz| [...])`."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FlowPosterior:
    r"""The law of $z_K = f_K \circ \dots \circ f_1(z_0)$, $z_0 \sim N(\mu, \sigma^2)$.

    $\log q_K(z_K) = \log q_0(z_0) - \sum_k \log |\det \partial f_k / \partial z_{k - 1}|$. It is known along the way from z_0
    only: the steps need no inverse. Source: Rezende & Mohamed 2015, equations 12 and 13.

    Fields:
      base: the law of z_0, `[B, d]`.
      step: the step f, a function of z and of its parameters.
      parameters: the parameters of the steps, arrays `[K, B, ...]`.
    """

    base: Normal
    step: Step = dataclasses.field(metadata={"static": True})
    parameters: Any

    @property
    def mean(self) -> Float[Array, "b d"]:
        """The point that the steps make of mu: a code for pictures, and not the mean of the law."""
        return self._moved(jnp.asarray(self.base.mean))[0]

    def sample(self, key: Key[Array, "..."], *, samples: int) -> Float[Array, "k b d"]:
        """Samples of each example, as those of `sample_and_log_prob`."""
        return self.sample_and_log_prob(key, samples=samples)[0]

    def sample_and_log_prob(self, key: Key[Array, "..."], *, samples: int) -> tuple[Float[Array, "k b d"], Float[Array, "k b"]]:
        """Samples of each example, and their log-densities.

        Args:
          key: the key of the draw: one key, or a key for each example, `[B]`.
          samples: the number of samples k.

        Returns:
          `[k, B, d]` and `[k, B]`.
        """
        start, log_prob = self.base.sample_and_log_prob(key, samples=samples)
        z, log_det = self._moved(start)
        return z, log_prob - log_det

    def log_prob(self, z: Array) -> Array:
        """Refused: it would need the inverse of the steps."""
        raise UserError("A flow posterior has a density at its own samples only; ask for both, by `sample_and_log_prob`.")

    def kl(self, other: Normal) -> Array:
        """Refused: there is no closed form."""
        raise UserError("The KL of a flow posterior has no closed form; take a sampled one, `elbo(..., analytic_kl=False)`.")

    def _moved(self, z: Float[Array, "*k b d"]) -> tuple[Float[Array, "*k b d"], Float[Array, "*k b"]]:
        """The result of the steps from z, and the sum of their logarithms of determinants."""

        def move(carry: tuple[Array, Array], parameters: Any) -> tuple[tuple[Array, Array], None]:
            z, total = carry
            z, log_det = self.step(z, *parameters)
            return (z, total + log_det), None

        return lax.scan(move, (z, jnp.zeros(z.shape[:-1], z.dtype)), self.parameters)[0]
