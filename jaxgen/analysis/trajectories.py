"""Paths of states as pictures."""

from jaxtyping import Array, Float


def rows(trajectory: Float[Array, "k b *event"]) -> Float[Array, "n *event"]:
    """A path of each example as a row of a grid with k columns, `[k, B, ...] -> [B * k, ...]`.

    >>> import jax.numpy as jnp
    >>> rows(jnp.array([[0.0, 10.0], [1.0, 11.0]])).tolist()
    [0.0, 1.0, 10.0, 11.0]
    """
    return trajectory.swapaxes(0, 1).reshape(-1, *trajectory.shape[2:])
