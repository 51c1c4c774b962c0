"""The logits of intensities, in which images of bounded pixels have no borders."""

import math

import flax.linen as nn
import jax
from jax.scipy.special import logit
from jaxtyping import Array, Float

from jaxgen.models.flows.flow import over_event


class Logit(nn.Module):
    r"""$z = \mathrm{logit}(\alpha + (1 - 2 \alpha) x)$ for x in [0, 1].

    $\log |\det| = \sum_i \mathrm{softplus}(z_i) + \mathrm{softplus}(-z_i) + \log(1 - 2 \alpha)$. The inverse may lie outside of
    [0, 1] by as much as alpha makes room for, $\alpha / (1 - 2 \alpha)$.

    Source: Dinh et al. 2017, section 4.1, which has $\alpha + (1 - \alpha) x$; the authors' code has the one here, with the
    range of the logits symmetric.

    Fields:
      alpha: the distance that logits keep from those of black and of white; above 0 and below 1/2.
    """

    alpha: float = 0.05

    def __call__(self, x: Float[Array, "b *event"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """The logits of intensities in [0, 1]."""
        z = logit(self.alpha + (1 - 2 * self.alpha) * x)
        return z, over_event(jax.nn.softplus(z) + jax.nn.softplus(-z) + math.log(1 - 2 * self.alpha))

    def inverse(self, z: Float[Array, "b *event"]) -> Float[Array, "b *event"]:
        """The intensities."""
        return (jax.nn.sigmoid(z) - self.alpha) / (1 - 2 * self.alpha)
