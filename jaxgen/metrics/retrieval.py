"""How often a query finds what belongs to it among the first k candidates."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def recall(similarity: Float[Array, "n m"], relevant: Bool[Array, "n m"], k: int) -> Float[Array, " n"]:
    r"""Recall at k: whether any right answer is among a query's k most similar candidates.

    Several candidates may be right (two pictures with one caption): finding one is enough. Candidates that are exactly as
    similar are in random order, and the value is the expectation over it: with t candidates on a level with the best right
    answer, r of them right, and a above them, it is $1 - \binom{t - r}{k - a} / \binom t {k - a}$. So a model that maps
    everything to one vector scores what guessing does, wherever the right answer lies.

    Args:
      similarity: of each query to each candidate.
      relevant: which candidates are right.
      k: how many candidates are looked at.

    Returns:
      One value a query, in [0, 1]; 0 for a query without a right answer.

    Raises:
      ValueError: if k is below one.

    >>> right = jnp.eye(3, dtype=bool)
    >>> recall(jnp.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 0.0, 0.0]]), right, 1).round(1).tolist()
    [1.0, 0.0, 0.30000001192092896]
    """
    if k < 1:
        raise ValueError(f"the first {k} candidates hold none")
    best = jnp.where(relevant, similarity, -jnp.inf).max(1, keepdims=True)
    level = similarity == best
    above = (similarity > best).sum(1, keepdims=True).astype(jnp.float32)
    tied = level.sum(1, keepdims=True).astype(jnp.float32)
    wrong = (level & ~relevant).sum(1, keepdims=True).astype(jnp.float32)
    # The binomials' quotient, a factor for each place: the chance that the i-th of those on a level is wrong as well.
    i = jnp.arange(min(k, similarity.shape[1]), dtype=jnp.float32)
    drawn = (above + i < k) & (i < tied)
    miss = jnp.where(drawn, jnp.maximum(wrong - i, 0.0) / jnp.maximum(tied - i, 1.0), 1.0).prod(1)
    return jnp.where(relevant.any(1), 1 - miss, 0.0)


def chance(relevant: Bool[Array, "n m"], k: int) -> Float[Array, " n"]:
    """What guessing scores: k / m where one of m candidates is right, and more where several are.

    >>> chance(jnp.eye(4, dtype=bool), 2).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    return recall(jnp.zeros(relevant.shape, jnp.float32), relevant, k)
