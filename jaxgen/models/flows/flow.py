"""The interface of all flows, and a chain of flows."""

from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


@runtime_checkable
class Flow(Protocol):
    r"""An invertible map between data and latents of one number of dimensions.

    $\log p(x) = \log p(z) + \log |\det \partial z / \partial x|$, $z = f(x)$.

    Source: Dinh et al. 2017, equations 2 and 3.
    """

    def __call__(self, x: Array, *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """The latents `[B, ...]` of data `[B, ...]`, and the logarithm of the Jacobian's determinant, `[B]`."""
        ...

    def inverse(self, z: Array) -> Array:
        """The data of latents."""
        ...


class Chain(nn.Module):
    """Flows one after another.

    Fields:
      flows: the flows, that of the data first.
    """

    flows: tuple[Any, ...]

    def __call__(self, x: Float[Array, "b *event"], *, train: bool = False) -> tuple[Array, Float[Array, " b"]]:
        """The latents, and the sum of the flows' logarithms of determinants."""
        log_det = jnp.zeros(x.shape[0], x.dtype)
        for flow in self.flows:
            x, more = flow(x, train=train)
            log_det = log_det + more
        return x, log_det

    def inverse(self, z: Float[Array, "b *event"]) -> Float[Array, "b *event"]:
        """The data of latents: the inverses in the opposite order."""
        for flow in reversed(self.flows):
            z = flow.inverse(z)
        return z


def over_event(values: Float[Array, "b *event"]) -> Float[Array, " b"]:
    """The sum over all axes but the first, in the dtype of the values.

    >>> over_event(jnp.ones((2, 3, 3, 1))).tolist()
    [9.0, 9.0]
    """
    return values.reshape(values.shape[0], -1).sum(1)
