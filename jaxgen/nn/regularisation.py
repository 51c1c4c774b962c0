"""Dropout of single values and of whole branches, as functions of a key.

A layer that runs in a loop gets its key from outside of the loop. So these take a key and not a module's rng, and a stack of
layers drops the same values whether it is a loop or not.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.types import Key


def dropout(x: Float[Array, "*shape"], rate: float | Array, key: Key | None) -> Float[Array, "*shape"]:
    r"""$m x / (1 - r)$ with an independent $m \sim \mathrm{Bernoulli}(1 - r)$ for every value; its mean is x.

    Args:
      x: values.
      rate: the probability r that a value is dropped, in [0, 1).
      key: the key of the draw; None drops nothing, as outside of training.

    Returns:
      Values of the same shape and dtype.

    >>> dropout(jnp.ones(4), 0.5, None).tolist()
    [1.0, 1.0, 1.0, 1.0]
    >>> sorted(set(dropout(jnp.ones(100), 0.5, jax.random.key(0)).tolist()))
    [0.0, 2.0]

    Source: Srivastava et al. 2014, section 4, scaled in training instead of afterwards.
    """
    return _dropped(x, rate, key, x.shape)


def drop_path(x: Float[Array, "b *shape"], rate: float | Array, key: Key | None) -> Float[Array, "b *shape"]:
    r"""Stochastic depth: $m_b x_b / (1 - r)$ with one $m_b \sim \mathrm{Bernoulli}(1 - r)$ for each example b.

    Applied to what a residual branch adds, it takes the branch out for some examples.

    Args:
      x: the values of a branch; the first axis counts examples.
      rate: the probability r that an example's branch is dropped, in [0, 1).
      key: the key of the draw; None drops nothing, as outside of training.

    Returns:
      Values of the same shape and dtype.

    >>> drop_path(jnp.ones((4, 3)), 0.5, jax.random.key(0)).std(1).tolist()
    [0.0, 0.0, 0.0, 0.0]

    Source: Huang et al. 2016, section 3; for each example, and scaled in training, as in Touvron et al. 2021.
    """
    return _dropped(x, rate, key, (x.shape[0], *[1] * (x.ndim - 1)))


def _dropped(x: Array, rate: float | Array, key: Key | None, shape: tuple[int, ...]) -> Array:
    if key is None or (isinstance(rate, float | int) and rate == 0):
        return x
    share = 1 - jnp.asarray(rate, jnp.float32)
    return jnp.where(jax.random.bernoulli(key, share, shape), x / share.astype(x.dtype), jnp.zeros((), x.dtype))
