"""The multi-scale architecture: half of the numbers leave the flow on each level, and those that stay are changed further."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.models.flows.squeeze import ordered_squeeze, ordered_unsqueeze, squeeze, unsqueeze


class Squeezed(nn.Module):
    """A flow of squeezed images, between a squeeze and its inverse.

    Fields:
      flow: the flow of `[B, H / 2, W / 2, 4 C]`.
    """

    flow: Any

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """Changes `[B, H, W, C]`."""
        z, log_det = self.flow(squeeze(x), train=train)
        return unsqueeze(z), log_det

    def inverse(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Changes it back."""
        return unsqueeze(self.flow.inverse(squeeze(z)))


class MultiScale(nn.Module):
    """A flow for each level; after all but the last one, images are squeezed and the second half of the channels leaves.

    What leaves goes back to its place in the end, so that the latents have the shape of the data.

    Source: Dinh et al. 2017, section 3.6 and equations 14 to 16.

    Fields:
      flows: the flows, that of the largest images first.
      ordered: whether what leaves is one colour of a checkerboard (`ordered_squeeze`); otherwise it is the second half of the
        channels of `squeeze`.
    """

    flows: tuple[Any, ...]
    ordered: bool = False

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """The latents, and the sum of the levels' logarithms of determinants."""
        gone, log_det = [], jnp.zeros(x.shape[0], x.dtype)
        for flow in self.flows[:-1]:
            x, more = flow(x, train=train)
            x, leaves = jnp.split(self._squeezed(x), 2, axis=-1)
            gone.append(leaves)
            log_det = log_det + more
        x, more = self.flows[-1](x, train=train)
        for leaves in reversed(gone):
            x = self._unsqueezed(jnp.concatenate([x, leaves], axis=-1))
        return x, log_det + more

    def inverse(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The data of latents."""
        gone = []
        for _ in self.flows[:-1]:
            z, left = jnp.split(self._squeezed(z), 2, axis=-1)
            gone.append(left)
        x = self.flows[-1].inverse(z)
        for flow, left in zip(reversed(self.flows[:-1]), reversed(gone), strict=True):
            x = flow.inverse(self._unsqueezed(jnp.concatenate([x, left], axis=-1)))
        return x

    def _squeezed(self, x: Array) -> Array:
        return ordered_squeeze(x) if self.ordered else squeeze(x)

    def _unsqueezed(self, x: Array) -> Array:
        return ordered_unsqueeze(x) if self.ordered else unsqueeze(x)
