"""The multivariate normal distribution."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Key

from jaxgen import keys
from jaxgen.distributions.normal import Normal


class MultivariateNormal(NamedTuple):
    r"""$N(\mu, L L^\top)$: elements that depend on each other, so that `log_prob` and `kl` are those of a whole vector.

    Fields:
      mean: mu, `[..., d]`.
      scale: the factor L of the covariance, `[..., d, d]`, lower triangular with a positive diagonal.

    >>> q = MultivariateNormal(jnp.zeros((2, 3)), jnp.broadcast_to(jnp.eye(3), (2, 3, 3)))
    >>> q.log_prob(jnp.zeros((2, 3))).shape
    (2,)
    """

    mean: Float[Array, "*b d"]
    scale: Float[Array, "*b d d"]

    def log_prob(self, x: Float[Array, "*b d"]) -> Float[Array, "*b"]:
        r"""$-\frac 1 2 \|L^{-1} (x - \mu)\|^2 - \sum_i \log L_{ii} - \frac d 2 \log 2 \pi$."""
        white = solve_triangular(self.scale, (x - self.mean)[..., None], lower=True)[..., 0]
        return -0.5 * (white**2).sum(-1) - self._log_det() - 0.5 * x.shape[-1] * math.log(2 * math.pi)

    def sample(self, key: Key[Array, "..."], *, samples: int | None = None) -> Float[Array, "..."]:
        r"""$\mu + L \epsilon$, $\epsilon \sim N(0, I)$: differentiable in both.

        Args:
          key: the key of the draw: one key, or a key for each example, `[B]`, the first axis of the mean.
          samples: the number of samples k; the result then has a leading axis of that length.

        Returns:
          `[..., d]`, or `[k, ..., d]`.
        """
        shape = self.mean.shape if samples is None else (samples, *self.mean.shape)
        normal = functools.partial(jax.random.normal, dtype=self.mean.dtype)
        noise = keys.draw(normal, key, shape, axis=0 if samples is None else 1)
        return self.mean + jnp.einsum("...ij,...j->...i", self.scale, noise)

    def kl(self, other: Normal) -> Float[Array, "*b"]:
        r"""The KL to independent normal elements $N(m, \mathrm{diag}(s^2))$, in nats.

        $\frac 1 2 \left(\|S^{-1} L\|_F^2 + \|S^{-1} (\mu - m)\|^2 - d\right) - \sum_i \log \frac{L_{ii}}{s_i}$, $S =
        \mathrm{diag}(s)$.

        >>> MultivariateNormal(jnp.ones(3), jnp.eye(3)).kl(Normal()).item()
        1.5
        """
        std = jnp.broadcast_to(jnp.asarray(other.std, self.mean.dtype), self.mean.shape)
        spread = ((self.scale / std[..., None]) ** 2).sum((-2, -1))
        shift = (((self.mean - other.mean) / std) ** 2).sum(-1)
        return 0.5 * (spread + shift - self.mean.shape[-1]) - self._log_det() + jnp.log(std).sum(-1)

    def _log_det(self) -> Float[Array, "*b"]:
        return jnp.log(jnp.diagonal(self.scale, axis1=-2, axis2=-1)).sum(-1)
