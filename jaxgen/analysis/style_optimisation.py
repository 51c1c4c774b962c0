"""The style of an image by gradient descent on its pixels, next to which a network that does it in one pass is measured."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def optimised(
    loss: Callable[[Array], Float[Array, " b"]], start: Float[Array, "b h w c"], *, steps: int, learning_rate: float = 0.02
) -> Float[Array, "b h w c"]:
    """Images that descend a loss of their own, each by Adam, and stay in [0, 1].

    Args:
      loss: the loss of images, one value per example, each of which depends on its own image alone.
      start: the images to begin with, in [0, 1].
      steps: the number of steps.
      learning_rate: Adam's learning rate.

    Returns:
      The images.

    Source: Gatys et al. 2016, section 2.3, with Adam in place of L-BFGS.

    >>> optimised(lambda x: jnp.square(x - 0.5).sum((1, 2, 3)), jnp.zeros((1, 1, 1, 1)), steps=200).round(2).item()
    0.5
    """
    tx = optax.adam(learning_rate)

    def step(carry: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], None]:
        x, state = carry
        updates, state = tx.update(jax.grad(lambda x: loss(x).sum())(x), state)
        return (jnp.clip(optax.apply_updates(x, updates), 0.0, 1.0), state), None

    return jax.lax.scan(step, (start, tx.init(start)), length=steps)[0][0]
