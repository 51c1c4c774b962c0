r"""Planar and radial steps, which bend a simple density into the posterior of a latent variable model.

A step is a function `(z, parameters) -> (f(z), log |det df/dz|)` from the simple density onwards. It is invertible, but not in
closed form. A module makes the parameters of K steps, of features of each example or the same for all.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.distributions.flow_posterior import Step

SMALL = nn.initializers.normal(0.01)


def planar(
    z: Float[Array, "*n d"], w: Float[Array, "*b d"], u: Float[Array, "*b d"], b: Float[Array, "*b"]
) -> tuple[Float[Array, "*n d"], Float[Array, "*n"]]:
    r"""$f(z) = z + \hat u \tanh(w^\top z + b)$: z is moved along u where it crosses a plane.

    $\hat u = u + (m(w^\top u) - w^\top u)\, w / \|w\|^2$ with $m(a) = -1 + \mathrm{softplus}(a)$ has $w^\top \hat u > -1$, so
    that f is invertible. $\log |\det| = \log |1 + \hat u^\top \psi|$, $\psi = (1 - \tanh^2)\, w$.

    Args:
      z: the points.
      w: the normal vectors of the planes.
      u: the directions, before the constraint.
      b: the offsets of the planes.

    Returns:
      The moved points, and the logarithm of the determinant at each.

    Source: Rezende & Mohamed 2015, equations 10 to 12 and appendix A.1.
    """
    along, squared = (w * u).sum(-1), (w * w).sum(-1)
    # 1 + w^T u of the constrained u; without a plane, w = 0, there is nothing to constrain.
    positive = jnp.where(squared > 0, jax.nn.softplus(along), 1.0)
    constrained = u + ((positive - 1 - along) / jnp.where(squared > 0, squared, 1.0))[..., None] * w
    h = jnp.tanh(_dot(z, w) + b)
    # 1 + u^T psi = 1 + (1 - h^2)(positive - 1), as a sum of what is not negative.
    return z + constrained * h[..., None], jnp.log(h**2 + (1 - h**2) * positive)


def radial(
    z: Float[Array, "*n d"], centre: Float[Array, "*b d"], alpha: Float[Array, "*b"], beta: Float[Array, "*b"]
) -> tuple[Float[Array, "*n d"], Float[Array, "*n"]]:
    r"""$f(z) = z + \hat\beta\, h\, (z - z_0)$, $h = 1 / (\alpha + r)$, $r = \|z - z_0\|$: away from a point, or towards it.

    $\hat\beta = -\alpha + \mathrm{softplus}(\beta) > -\alpha$, so that f is invertible. $\log |\det| = (d - 1) \log(1 +
    \hat\beta h) + \log(1 + \hat\beta h - \hat\beta h^2 r)$.

    Args:
      z: the points.
      centre: the points z_0.
      alpha: the lengths within which the centre matters, above 0.
      beta: the strengths, before the constraint.

    Returns:
      The moved points, and the logarithm of the determinant at each.

    Source: Rezende & Mohamed 2015, equation 14 and appendix A.2.
    """
    away = z - centre
    squared = _dot(away, away)
    # The root has no gradient at the centre itself.
    r = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)
    h = 1 / (alpha + r)
    strength = jax.nn.softplus(beta) - alpha
    log_det = (z.shape[-1] - 1) * jnp.log1p(strength * h) + jnp.log1p(strength * h - strength * h**2 * r)
    return z + (strength * h)[..., None] * away, log_det


class Planar(nn.Module):
    """The parameters w, u and b of K planar steps.

    Fields:
      steps: the number of steps K.
      amortised: whether they are made of each example's features; otherwise all examples have the same.
    """

    steps: int = 10
    amortised: bool = True
    step: ClassVar[Step] = staticmethod(planar)

    @nn.compact
    def __call__(self, features: Float[Array, "b f"], latents: int) -> tuple[Array, Array, Array]:
        """The arrays `[K, B, d]`, `[K, B, d]` and `[K, B]`."""
        raw = _raw(self, features, 2 * latents + 1)
        return raw[..., :latents], raw[..., latents : 2 * latents], raw[..., -1]


class Radial(nn.Module):
    """The parameters z_0, alpha and beta of K radial steps.

    Fields:
      steps: the number of steps K.
      amortised: whether they are made of each example's features; otherwise all examples have the same.
    """

    steps: int = 10
    amortised: bool = True
    step: ClassVar[Step] = staticmethod(radial)

    @nn.compact
    def __call__(self, features: Float[Array, "b f"], latents: int) -> tuple[Array, Array, Array]:
        """The arrays `[K, B, d]`, `[K, B]` and `[K, B]`."""
        raw = _raw(self, features, latents + 2)
        # Both numbers are near zero at first, and a step near the identity.
        return raw[..., :latents], jax.nn.softplus(raw[..., latents]), raw[..., latents + 1]


def _dot(a: Float[Array, "*n d"], b: Float[Array, "*b d"]) -> Float[Array, "*n"]:
    """The inner products of vectors, as a product of matrices.

    The fused sum over broadcast rows, `tanh((a * b).sum(-1) + c)`, is compiled to a wrong program by jaxlib 0.10.2 on a CPU at
    some sizes, such as [10000, 4, 2].
    """
    return jnp.einsum("...d,...d->...", a, b, precision="highest")


def _raw(module: Planar | Radial, features: Float[Array, "b f"], width: int) -> Float[Array, "k b width"]:
    """Numbers near zero at first: those of a linear layer, or learned ones."""
    if module.amortised:
        own = nn.Dense(module.steps * width, kernel_init=SMALL, bias_init=SMALL)(features.astype(jnp.float32))
        return own.reshape(-1, module.steps, width).swapaxes(0, 1)
    free = module.param("free", SMALL, (module.steps, 1, width), jnp.float32)
    return jnp.broadcast_to(free, (module.steps, len(features), width))
