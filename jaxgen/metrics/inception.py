"""Inception score: how sure a classifier is of each sample, and how varied its answers are."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class InceptionScore(NamedTuple):
    """What `score` finds: mean and standard deviation over the splits."""

    mean: float
    std: float


class Answers(NamedTuple):
    r"""What a split's samples were taken for, so far: all that the score needs of them.

    Fields:
      n: how many.
      total: $\sum_n p(y | x_n)$, `[k]`.
      negative_entropy: $\sum_n \sum_y p(y | x_n) \log p(y | x_n)$.
    """

    n: int
    total: np.ndarray
    negative_entropy: float


def of(logits: np.ndarray) -> Answers:
    """The answers to a batch.

    Args:
      logits: `[n, k]`, of the classifier.
    """
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    p = np.exp(log_p)
    return Answers(len(p), p.sum(0), float((p * log_p).sum()))


def merge(a: Answers, b: Answers) -> Answers:
    """The answers to two batches of one split."""
    return Answers(a.n + b.n, a.total + b.total, a.negative_entropy + b.negative_entropy)


def score(splits: Sequence[Answers]) -> InceptionScore:
    r"""$\exp \mathbb E_x KL(p(y | x) \| p(y))$ of each split.

    Args:
      splits: the samples' answers in equal parts; the convention is ten.

    Returns:
      Mean and standard deviation over the splits; between 1 and the number of classes.

    >>> sure = of(np.diag([100.0, 100.0]))
    >>> round(score([sure]).mean, 6), round(score([of(np.zeros((4, 2)))]).mean, 6)
    (2.0, 1.0)

    Source: Salimans et al. 2016, section 4.
    """
    values = []
    for split in splits:
        marginal = split.total / split.n
        entropy = -(marginal * np.log(np.where(marginal > 0, marginal, 1.0))).sum()
        values.append(np.exp(split.negative_entropy / split.n + entropy))
    return InceptionScore(float(np.mean(values)), float(np.std(values)))
