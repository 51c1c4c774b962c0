"""Affine couplings: a part of x is shifted and scaled by numbers that a network makes of the other part.

The network is a module `network(x, outputs, train=...) -> (shift, log_scale)`; for a checkerboard it gets the `mask` too.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.models.flows.flow import over_event


def checkerboard(height: int, width: int, *, odd: bool) -> Float[Array, "h w 1"]:
    """The fields of one colour: 1 where row and column add up to an odd number, or to an even one, and 0 elsewhere.

    >>> checkerboard(2, 3, odd=True)[..., 0].tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    parity = (jnp.arange(height)[:, None] + jnp.arange(width)[None]) % 2
    return (parity == int(odd)).astype(jnp.float32)[..., None]


class CheckerboardCoupling(nn.Module):
    r"""$z = m x + (1 - m) (x + t) e^s$, $s, t = f(m x)$, for a checkerboard m of pixels that stay.

    Source: Dinh et al. 2017, equations 6 to 9 and figure 3; the shift before the scale is that of the authors' code.

    Fields:
      network: the network f, which gets the mask too.
      odd: whether the pixels stay whose row and column add up to an odd number.
    """

    network: Any
    odd: bool

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """Changes the pixels of one colour."""
        mask, shift, log_scale = self._conditioned(x, train)
        return mask * x + (1 - mask) * (x + shift) * jnp.exp(log_scale), over_event((1 - mask) * log_scale)

    def inverse(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Changes them back."""
        mask, shift, log_scale = self._conditioned(z, False)
        return mask * z + (1 - mask) * (z * jnp.exp(-log_scale) - shift)

    def _conditioned(self, x: Array, train: bool) -> tuple[Array, Array, Array]:
        mask = checkerboard(*x.shape[1:3], odd=self.odd).astype(x.dtype)
        return mask, *self.network(mask * x, x.shape[-1], mask=mask, train=train)


class ChannelCoupling(nn.Module):
    r"""$z_2 = (x_2 + t) e^s$, $z_1 = x_1$, $s, t = f(x_1)$, for halves x_1 and x_2 of the last axis.

    Source: Dinh et al. 2017, equations 4 and 5; Kingma & Dhariwal 2018, table 1.

    Fields:
      network: the network f.
      changes_first: whether the first half is x_2; otherwise it is x_1.
    """

    network: Any
    changes_first: bool = False

    def __call__(self, x: Float[Array, "b *shape c"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """Changes one half of the channels."""
        stays, changes = self._halves(x)
        shift, log_scale = self.network(stays, changes.shape[-1], train=train)
        return self._joined(stays, (changes + shift) * jnp.exp(log_scale)), over_event(log_scale)

    def inverse(self, z: Float[Array, "b *shape c"]) -> Float[Array, "b *shape c"]:
        """Changes it back."""
        stays, changed = self._halves(z)
        shift, log_scale = self.network(stays, changed.shape[-1], train=False)
        return self._joined(stays, changed * jnp.exp(-log_scale) - shift)

    def _halves(self, x: Array) -> tuple[Array, Array]:
        first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return (second, first) if self.changes_first else (first, second)

    def _joined(self, stays: Array, changed: Array) -> Array:
        return jnp.concatenate([changed, stays] if self.changes_first else [stays, changed], axis=-1)
