"""Retrieval: the share of queries that find their own target among the first k candidates."""

import hashlib
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

RESOLUTION = 1e-6
"""Similarities that differ by less than this share of the largest are equal: float32 does not distinguish them."""


def groups(items: Iterable[str] | Iterable[Shaped[np.ndarray, "..."]]) -> Int[np.ndarray, " n"]:
    """A number for each text or each array, the same for equal ones: equal items are the same answer.

    Args:
      items: texts, which are equal if they are so in lower case and with single spaces; or arrays, such as images, equal in
        every number.

    Returns:
      `[n]`, from 0 on.

    >>> groups(["A dog", "a  DOG ", "a cat"]).tolist()
    [1, 1, 0]
    """
    keys = [" ".join(item.casefold().split()) if isinstance(item, str) else _hash(item) for item in items]
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    return np.array([number[key] for key in keys], np.int64)


def relevant(query: Int[np.ndarray, " n"], target: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n n"]:
    """The mask of the targets that are right for each query, for n pairs in which both may occur several times.

    Right is the target of any pair with an equal query, and any target that is equal to it. Vectors that are perfect then score
    a recall at 1 of one.

    Args:
      query: the group of each pair's query, as `groups` gives them.
      target: the group of each pair's target.

    Returns:
      `[n, n]`, a row for each query.

    >>> relevant(np.array([0, 0, 1]), np.array([0, 1, 2])).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    told = np.zeros((query.max() + 1, target.max() + 1), bool)
    told[query, target] = True
    return told[query][:, target]


def _hash(x: np.ndarray) -> str:
    return hashlib.sha256(f"{x.dtype} {x.shape} ".encode() + np.ascontiguousarray(x).tobytes()).hexdigest()


def recall(similarity: Float[Array, "n m"], relevant: Bool[Array, "n m"], k: int) -> Float[Array, " n"]:
    r"""Recall at k: whether any right answer is among a query's k most similar candidates.

    Several candidates may be right (two pictures with one caption): finding one is enough. Candidates that are exactly as
    similar are in random order, and the value is the expectation over it. With t candidates on a level with the best right
    answer, r of them right, and a above them, it is $1 - \binom{t - r}{k - a} / \binom t {k - a}$. So a model that maps
    everything to one vector scores what guessing does, wherever the right answer lies. Equal vectors may get similarities that
    differ in their last bits, which are therefore taken for equal (`RESOLUTION`).

    Args:
      similarity: the similarity of each query to each candidate.
      relevant: a mask of the candidates that are right.
      k: the number of candidates that are looked at.

    Returns:
      One value per query, in [0, 1]; 0 for a query without a right answer, and nan for one with a similarity of nan.

    Raises:
      ValueError: if k is below one.

    >>> right = jnp.eye(3, dtype=bool)
    >>> recall(jnp.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 0.0, 0.0]]), right, 1).round(1).tolist()
    [1.0, 0.0, 0.30000001192092896]
    """
    if k < 1:
        raise ValueError(f"the first {k} candidates hold none")
    best = jnp.where(relevant, similarity, -jnp.inf).max(1, keepdims=True)
    near = RESOLUTION * jnp.where(jnp.isfinite(similarity), jnp.abs(similarity), 0.0).max(1, keepdims=True)
    level = (similarity == best) | (jnp.abs(similarity - best) <= near)
    above = ((similarity > best) & ~level).sum(1, keepdims=True).astype(jnp.float32)
    tied = level.sum(1, keepdims=True).astype(jnp.float32)
    wrong = (level & ~relevant).sum(1, keepdims=True).astype(jnp.float32)
    # The binomials' quotient, a factor for each place: the chance that the i-th of those on a level is wrong as well.
    i = jnp.arange(min(k, similarity.shape[1]), dtype=jnp.float32)
    drawn = (above + i < k) & (i < tied)
    miss = jnp.where(drawn, jnp.maximum(wrong - i, 0.0) / jnp.maximum(tied - i, 1.0), 1.0).prod(1)
    found = jnp.where(relevant.any(1), 1 - miss, 0.0)
    return jnp.where(jnp.isnan(similarity).any(1), jnp.nan, found)


def chance(relevant: Bool[Array, "n m"], k: int) -> Float[Array, " n"]:
    """The recall of guessing: k / m where one of m candidates is right, and more where several are.

    >>> chance(jnp.eye(4, dtype=bool), 2).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    return recall(jnp.zeros(relevant.shape, jnp.float32), relevant, k)
