"""The cross-entropy of a classifier."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cross_entropy(logits: Float[Array, "b k"], label: Int[Array, " b"], *, smoothing: float = 0.0) -> Float[Array, " b"]:
    r"""$-\sum_y q(y) \log p(y | x)$ with $q(y) = (1 - \epsilon)\, 1[y = y^*] + \epsilon / k$.

    Args:
      logits: of k classes.
      label: the true class $y^*$.
      smoothing: $\epsilon$; 0 is the negative log-likelihood.

    Returns:
      One value an example, in nats, computed in float32.

    >>> cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3])).round(4).tolist() == [1.3862999677658081] * 2
    True

    Source: Szegedy et al. 2016, section 7 (the smoothing).
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    own = jnp.take_along_axis(log_p, label[:, None], axis=-1)[:, 0]
    return -(1 - smoothing) * own - smoothing * log_p.mean(-1)
