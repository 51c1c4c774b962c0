"""The variational autoencoder whose posterior is transformed by a flow (Rezende & Mohamed 2015)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.distributions import FlowPosterior, Normal
from jaxgen.models.flows.planar import Planar
from jaxgen.models.vae.vae import VAE


class FlowVAE(VAE):
    r"""A latent variable model with the posterior $q_K(z | x)$ of K steps from $N(\mu(x), \sigma^2(x))$.

    Source: Rezende & Mohamed 2015, section 4.2 and figure 2.

    Fields:
      flow: the module that makes the steps' parameters, `Planar` or `Radial`.
    """

    flow: nn.Module = Planar()

    def encode(self, x: Float[Array, "b h w c"], *, train: bool = False) -> FlowPosterior:  # type: ignore[override]
        """The posterior q(z | x), `[B, L]`, in float32."""
        features = self.encoder(x, train=train)
        mean, log_std = jnp.split(self.head(features).astype(jnp.float32), 2, axis=-1)
        return FlowPosterior(Normal(mean, jnp.exp(log_std)), self.flow.step, self.flow(features, self.latents))
