"""The log-probability of an example, from those of its elements."""

from jaxtyping import Array, Float


def sum_event(values: Float[Array, "b *event"]) -> Float[Array, " b"]:
    """Sums over all axes but the first, in float32: the log-probability of independent elements.

    >>> import jax.numpy as jnp
    >>> sum_event(jnp.ones((2, 8, 8, 1))).tolist()
    [64.0, 64.0]
    """
    return values.astype("float32").reshape(values.shape[0], -1).sum(1)
