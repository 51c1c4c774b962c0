"""Inception score: how sure a classifier is of each sample, and how varied its answers are."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax, xlogy

from jaxgen.errors import InputError
from jaxgen.metrics.inputs import warn_few

ROWS = 8192
"""Samples at a time: memory does not grow with their number."""


class InceptionScore(NamedTuple):
    """The result of `score`: mean and standard deviation over the splits."""

    mean: float
    std: float


def score(logits: Float[np.ndarray, "n k"], *, splits: int = 10) -> InceptionScore:
    r"""$\exp \mathbb E_x KL(p(y | x) \| p(y))$ of each of equal parts of the samples.

    Args:
      logits: the logits of the classifier, one row per sample; may be memory-mapped. Minus infinity is a probability of 0.
      splits: the number of parts; the convention is ten.

    Returns:
      Mean and standard deviation over the parts; between 1 and the number of classes.

    Raises:
      ValueError: if there are fewer samples than parts, or a row of logits gives no probabilities.

    Warns:
      FewExamplesWarning: if a part has fewer samples than there are classes: it cannot score more than their number.

    >>> round(score(np.diag([100.0, 100.0]), splits=1).mean, 6), round(score(np.zeros((4, 2)), splits=2).mean, 6)
    (2.0, 1.0)

    Source: Salimans et al. 2016, section 4.
    """
    if len(logits) < splits:
        raise ValueError(f"{splits} parts need as many samples; got {len(logits)}")
    warn_few(caution(len(logits), logits.shape[1], splits))
    # Where the parts are unequal, they begin where those of the reference do.
    cuts = [i * len(logits) // splits for i in range(1, splits)]
    values = np.exp([_information(part) for part in np.split(logits, cuts)])
    return InceptionScore(float(values.mean()), float(values.std()))


def caution(n: int, classes: int, splits: int) -> str | None:
    """The warning about the score of n samples in so many parts, if a part has fewer samples than classes; else None."""
    if n // splits >= classes:
        return None
    return f"parts of {n // splits:,} samples cannot have an inception score above that, and there are {classes:,} classes"


def _information(logits: np.ndarray) -> float:
    """The information of an answer about its sample: the entropy of the mean answer, less the mean entropy of an answer."""
    total, negative_entropy = np.zeros(logits.shape[1]), 0.0
    for start in range(0, len(logits), ROWS):
        part = np.asarray(logits[start : start + ROWS], np.float64)
        bad = np.flatnonzero(~np.isfinite(part.max(1)))  # nan, infinity, or nothing but minus infinity
        if len(bad):
            raise InputError(f"Logits {part[bad[0]]} of a sample give no probabilities; mend what made them.")
        log_p = log_softmax(part, axis=1)
        p = np.exp(log_p)
        total += p.sum(0)
        negative_entropy += xlogy(p, p).sum()
    marginal = total / len(logits)
    return negative_entropy / len(logits) - xlogy(marginal, marginal).sum()
