"""The variational autoencoder."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.distributions import Normal


class VAE(nn.Module):
    r"""A latent variable model $p(z)\, p(x | z)$ with an amortised posterior $q(z | x) = N(\mu(x), \sigma^2(x))$.

    Source: Kingma & Welling 2013; the prior is a standard normal and belongs to the objective.

    Fields:
      encoder: the encoder, `[B, H, W, C]` to features `[B, F]`.
      decoder: the decoder, code `[B, L]` to `[B, H, W, C * n]`, n numbers an element as the likelihood wants them.
      likelihood: the decoder's output to a distribution over `[B, H, W, C]`.
      latents: the number of latents L.
    """

    encoder: nn.Module
    decoder: nn.Module
    likelihood: nn.Module
    latents: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the linear layer before the posterior's parameters."""
        self.head = nn.Dense(2 * self.latents, kernel_init=nn.initializers.glorot_uniform(), dtype=self.dtype)

    def encode(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Normal:
        """The posterior q(z | x), `[B, L]`, in float32."""
        mean, log_std = jnp.split(self.head(self.encoder(x, train=train)).astype(jnp.float32), 2, axis=-1)
        return Normal(mean, jnp.exp(log_std))

    def decode(self, z: Float[Array, "b l"], *, train: bool = False) -> Any:
        """The likelihood p(x | z)."""
        return self.likelihood(self.decoder(z, train=train))

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Any:
        """The likelihood at the posterior's mean; what `init` traces."""
        return self.decode(jnp.asarray(self.encode(x, train=train).mean), train=train)
