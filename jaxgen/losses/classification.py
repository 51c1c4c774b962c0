"""The cross-entropy of a classifier, and its error. What is no class has no value: nan."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def of_class(values: Float[Array, "b k"], label: Int[Array, " b"]) -> Float[Array, " b"]:
    """Each example's value for its own class; nan for a label that is no class, such as the -1 of a withheld label.

    Args:
      values: the values, one for each of k classes.
      label: the classes, 0 to k - 1. As an index, -1 would be the last class.

    Returns:
      One value per example.

    >>> of_class(jnp.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]), jnp.array([1, -1, 2])).tolist()
    [2.0, nan, nan]
    """
    k = values.shape[-1]
    own = jnp.take_along_axis(values, jnp.clip(label, 0, k - 1)[:, None], axis=-1)[:, 0]
    return jnp.where((label >= 0) & (label < k), own, jnp.nan)


def cross_entropy(logits: Float[Array, "b k"], label: Int[Array, " b"], *, smoothing: float = 0.0) -> Float[Array, " b"]:
    r"""$-\sum_y q(y) \log p(y | x)$ with $q(y) = (1 - \epsilon)\, 1[y = y^*] + \epsilon / k$.

    Args:
      logits: unnormalised scores of k classes.
      label: the true class $y^*$.
      smoothing: the share $\epsilon$ that is spread over all classes; 0 is the negative log-likelihood.

    Returns:
      One value per example, in nats, computed in float32; nan for a label that is no class.

    >>> cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3])).round(4).tolist() == [1.3862999677658081] * 2
    True

    Source: Szegedy et al. 2016, section 7 (the smoothing).
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -(1 - smoothing) * of_class(log_p, label) - smoothing * log_p.mean(-1)


def error(scores: Float[Array, "*s b k"], label: Int[Array, " b"]) -> Float[Array, "*s b"]:
    """1 where the class with the largest score is not the label, else 0; nan for a label that is no class.

    Args:
      scores: logits or probabilities of k classes.
      label: the true classes.

    Returns:
      One value for each row of scores.

    >>> error(jnp.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]), jnp.array([0, 1, -1])).tolist()
    [1.0, 0.0, nan]
    """
    wrong = (scores.argmax(-1) != label).astype(jnp.float32)
    return jnp.where((label >= 0) & (label < scores.shape[-1]), wrong, jnp.nan)
