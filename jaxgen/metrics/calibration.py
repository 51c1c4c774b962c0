"""Calibration: whether a classifier is right as often as it says."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxgen.metrics.inputs import check_finite, check_labels, warn_few


class Reliability(NamedTuple):
    """The result of `reliability`: a row for each bin that holds an answer, from the least sure to the surest.

    Fields:
      n: answers in the bin, `[b]`.
      confidence: the mean confidence of the bin's answers, `[b]`.
      accuracy: the share of them that are right, `[b]`.
    """

    n: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], *, bins: int = 15, equal_mass: bool = False
) -> Reliability:
    r"""The reliability table: how often a classifier is right, by how sure it is.

    An answer is the most probable class, and its probability the confidence. A bin of equal width is
    $(\frac{b-1}{B}, \frac b B]$; bins of equal mass hold as many answers each, by rank, give or take one.

    Args:
      probabilities: the predicted probabilities of the classes, which sum to 1.
      labels: the right classes.
      bins: the number of bins B.
      equal_mass: whether the bins are cut by rank instead of by width: no bin is then nearly empty.

    Returns:
      The table; bins without an answer are left out.

    Raises:
      ValueError: if there is no answer, no bin, a row does not sum to 1 or is not finite, or a label is no class.

    >>> reliability(np.array([[0.9, 0.1], [0.3, 0.7], [0.1, 0.9]]), np.array([0, 1, 0]), bins=10).accuracy.tolist()
    [1.0, 0.5]

    Source: Niculescu-Mizil & Caruana 2005; Guo et al. 2017, section 2.
    """
    if not len(probabilities) or bins < 1:
        raise ValueError(f"a table wants answers and bins; got {len(probabilities)} and {bins}")
    probabilities = np.asarray(probabilities, np.float64)
    check_finite(probabilities=probabilities)
    check_labels(labels, classes=probabilities.shape[1])
    if not (np.abs(probabilities.sum(1) - 1).max() <= 1e-3 and probabilities.min() >= -1e-3):
        raise ValueError("probabilities sum to 1 over the classes; take the softmax of logits first")
    confidence, right = probabilities.max(1), (probabilities.argmax(1) == labels).astype(np.float64)
    if equal_mass:
        index = np.empty(len(confidence), np.int64)
        index[np.argsort(confidence, kind="stable")] = np.arange(len(confidence)) * bins // len(confidence)
    else:
        # Open on the left: a confidence of one is the last bin's. Sums of float32 may be above one.
        index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    held = count > 0
    total = [np.bincount(index, values, minlength=bins) for values in (confidence, right)]
    return Reliability(count[held], *(t[held] / count[held] for t in total))


def expected_error(table: Reliability) -> float:
    r"""Expected calibration error, $\sum_b \frac{n_b}{n} |\mathrm{acc}_b - \mathrm{conf}_b|$.

    It depends on the bins, and is biased upward where a bin holds few answers: state their number and kind with the value.

    Args:
      table: the table that `reliability` returns.

    Returns:
      The error in [0, 1]: 0 for a classifier that is right as often as it says.

    Warns:
      FewExamplesWarning: if bins hold fewer than two answers on average: a bin of one is right always or never, not as
        often as it says.

    >>> expected_error(Reliability(np.array([1, 3]), np.array([0.5, 0.9]), np.array([1.0, 0.9])))
    0.125

    Source: Naeini et al. 2015; Guo et al. 2017, equation 3.
    """
    warn_few(caution(int(table.n.sum()), len(table.n)))
    return float((table.n * np.abs(table.accuracy - table.confidence)).sum() / table.n.sum())


def caution(n: int, bins: int) -> str | None:
    """The warning about a calibration error of n answers in so many bins, if a bin holds hardly any; else None."""
    if n >= 2 * bins:
        return None
    return f"{n:,} answers in {bins} bins are fewer than two in each, of which a calibration error is far too large"


def maximum_error(table: Reliability) -> float:
    r"""Maximum calibration error, $\max_b |\mathrm{acc}_b - \mathrm{conf}_b|$.

    Args:
      table: the table that `reliability` returns.

    Returns:
      The error of the worst bin, which may hold one answer alone.

    Source: Naeini et al. 2015; Guo et al. 2017, equation 5.
    """
    return float(np.abs(table.accuracy - table.confidence).max())
