"""The deep variational information bottleneck."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen.distributions import MultivariateNormal, Normal

GLOROT = nn.initializers.glorot_uniform()


class DiagonalPosterior(nn.Module):
    r"""Features to $p(z | x) = N(\mu, \mathrm{diag}(\sigma^2))$, $\sigma = \mathrm{softplus}(\rho - 5)$.

    The shift starts the widths near 0.007, so that the code is hardly noisy before the bottleneck has found its place.

    Source: Alemi et al. 2017, section 4.1.

    Fields:
      latents: the number of latents K.
      dtype: the dtype of the computation; the parameters and the distribution are float32.
    """

    latents: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b f"]) -> Normal:
        """The distribution of `[B, K]`."""
        return Normal(*_moments(self.latents, self.dtype, h))


class FullPosterior(nn.Module):
    r"""Features to $p(z | x) = N(\mu, L L^\top)$: L is lower triangular, and its diagonal is $\mathrm{softplus}(\rho - 5)$.

    The layer of what lies below the diagonal starts at zero: at first the covariance is the diagonal one.

    Source: Alemi et al. 2017, section 4.1 and figure 2 (full covariance, K = 2).

    Fields:
      latents: the number of latents K; the last layer has K (K - 1) / 2 outputs more than the diagonal one.
      dtype: the dtype of the computation; the parameters and the distribution are float32.
    """

    latents: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b f"]) -> MultivariateNormal:
        """The distribution of `[B, K]`."""
        mean, std = _moments(self.latents, self.dtype, h)
        scale = jnp.vectorize(jnp.diag, signature="(k)->(k,k)")(std)
        rows, columns = np.tril_indices(self.latents, -1)
        if len(rows):  # a single latent has nothing below the diagonal
            lower = nn.Dense(len(rows), kernel_init=nn.initializers.zeros_init(), dtype=self.dtype, name="lower")(h)
            scale = scale.at[:, rows, columns].set(lower.astype(jnp.float32))
        return MultivariateNormal(mean, scale)


class Bottleneck(nn.Module):
    r"""A classifier through a stochastic code: $p(z | x)$, and $q(y | z)$ in the place of $p(y | z)$.

    Source: Alemi et al. 2017. The decoder is a softmax of one linear layer; the marginal r(z) belongs to the objective.

    Fields:
      encoder: the encoder, `[B, H, W, C]` to features `[B, F]`.
      posterior: features to a distribution over codes `[B, K]`.
      classes: number of labels.
      dtype: the dtype of the computation; the parameters and the logits are float32.
    """

    encoder: nn.Module
    posterior: nn.Module
    classes: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the decoder."""
        self.decoder = nn.Dense(self.classes, kernel_init=GLOROT, dtype=self.dtype)

    def encode(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Any:
        """The distribution p(z | x) of the code, in float32."""
        return self.posterior(self.encoder(x, train=train))

    def decode(self, z: Float[Array, "b k"], *, train: bool = False) -> Float[Array, "b classes"]:
        """The logits of q(y | z), in float32."""
        return self.decoder(z).astype(jnp.float32)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b classes"]:
        """The logits at the mean code; what `init` traces."""
        return self.decode(jnp.asarray(self.encode(x, train=train).mean), train=train)


def _moments(latents: int, dtype: Any, h: Array) -> tuple[Array, Array]:
    """The mean and the width of each latent, from a layer of the module that calls this."""
    out = nn.Dense(2 * latents, kernel_init=GLOROT, dtype=dtype, name="moments")(h).astype(jnp.float32)
    mean, rho = jnp.split(out, 2, axis=-1)
    return mean, jax.nn.softplus(rho - 5.0)
