"""Support vector machines on features that were learnt without labels, from few labelled examples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxgen.metrics.inputs import check_finite, check_labels

GRID = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
"""The values of C that the authors' code chooses from."""
HELD_OUT = 5
"""One in so many of the labelled examples is held out for the choice of C."""


class FewLabels(NamedTuple):
    """The result of `few_labels`.

    Fields:
      error: the mean share of test examples that are taken for another class.
      stderr: the standard error of this mean over the draws of the labelled examples; None of a single draw.
    """

    error: float
    stderr: float | None


def linear_svm(
    train_features: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, " n"],
    test_features: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
    *,
    c: Sequence[float] = GRID,
    seed: int = 0,
) -> float:
    r"""The accuracy of a linear L2-SVM, one class against the rest, with C chosen on held-out training examples.

    $\min_w \frac 1 2 \|w\|^2 + C \sum_i \max(0, 1 - y_i w^\top x_i)^2$. The features are taken as they are, without scaling.

    Args:
      train_features: the features, one row for each example.
      train_labels: the classes of the training examples, whole numbers from 0 on.
      test_features: the features of the examples that are counted.
      test_labels: the classes of the test examples.
      c: the values of C; the best on a fifth of the training examples is used for all of them, the smallest of equals.
      seed: the seed of the choice of that fifth.

    Returns:
      The share of the test examples that are taken for their own class, in [0, 1].

    Raises:
      ValueError: if there is one class only, a feature is not finite, or a label is negative (withheld).

    Source: Radford et al. 2015, section 5; github.com/Newmu/dcgan_code, svhn/svhn_semisup_analysis.py.

    >>> x, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    >>> linear_svm(x, y, 2 * x, y, c=(1.0,))
    1.0
    """
    check_finite(training_features=train_features, test_features=test_features)
    check_labels(train_labels, name="the training labels")
    check_labels(test_labels, name="the test labels")
    from sklearn.svm import LinearSVC

    def fitted(strength: float, chosen: np.ndarray) -> LinearSVC:
        return LinearSVC(C=strength, dual=False, max_iter=10_000).fit(features[chosen], train_labels[chosen])

    features, best = np.asarray(train_features, np.float64), c[0]
    order = np.random.default_rng(seed).permutation(len(features))
    held_out, rest = np.split(order, [len(order) // HELD_OUT])
    if len(c) > 1 and len(held_out) and len(np.unique(train_labels[rest])) > 1:
        scores = [fitted(one, rest).score(features[held_out], train_labels[held_out]) for one in c]
        best = c[int(np.argmax(scores))]
    return float(fitted(best, np.arange(len(features))).score(np.asarray(test_features, np.float64), test_labels))


def few_labels(
    train_features: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, " n"],
    test_features: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
    *,
    labels: int = 1000,
    draws: int = 100,
    seed: int = 0,
) -> FewLabels:
    """The error of `linear_svm` from few labelled examples, as many of each class, in a mean over draws of these examples.

    Args:
      train_features: the features, one row for each example.
      train_labels: the classes of the training examples, whole numbers from 0 on.
      test_features: the features of the examples that are counted.
      test_labels: the classes of the test examples.
      labels: the number of labelled examples; a class that has fewer than its share gives all of its own.
      draws: the number of draws; 100 in the paper.
      seed: the seed of the draws.

    Returns:
      The error and its standard error.

    Raises:
      ValueError: as `linear_svm`; or if there are fewer labelled examples than classes.

    Source: Radford et al. 2015, section 5.2, of 1,000 labels of SVHN.

    >>> x = np.concatenate([np.full((20, 1), -1.0), np.full((20, 1), 1.0)])
    >>> few_labels(x, np.repeat([0, 1], 20), x, np.repeat([0, 1], 20), labels=10, draws=2)
    FewLabels(error=0.0, stderr=0.0)
    """
    classes = np.unique(train_labels)
    if labels < len(classes):
        raise ValueError(f"{labels} labelled examples cannot show {len(classes)} classes")
    errors = []
    for draw in range(draws):
        rng = np.random.default_rng((seed, draw))
        of_each = [rng.permutation(np.flatnonzero(train_labels == one))[: labels // len(classes)] for one in classes]
        chosen = np.concatenate(of_each)
        known = train_features[chosen], train_labels[chosen]
        errors.append(1 - linear_svm(*known, test_features, test_labels, seed=draw))
    spread = None if draws == 1 else float(np.std(errors, ddof=1) / np.sqrt(draws))
    return FewLabels(float(np.mean(errors)), spread)
