"""Classifiers of features that were learnt without labels: a linear one, and the nearest neighbours' vote."""

import numpy as np
from jaxtyping import Float, Int

from jaxgen.metrics.inputs import check_finite, check_labels

ROWS = 1024
"""Test examples at a time."""

RESOLUTION = 1e-12
"""Cosines, and sums of votes relative to the largest, that differ by less are equal: float64 rounds by less."""


def linear(
    train_features: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, " n"],
    test_features: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
    *,
    l2: float = 1e-4,
    each: bool = True,
    max_iter: int = 1000,
) -> float:
    r"""Accuracy of multinomial logistic regression on standardised features.

    $\min_{W, b} \frac 1 n \sum_i -\log p(y_i | x_i) + \frac \lambda 2 \|W\|^2$ by L-BFGS, of features whose mean is 0 and whose
    variance is 1 over the training examples.

    Args:
      train_features: the features, one row for each example.
      train_labels: the classes of the training examples, whole numbers from 0 on.
      test_features: the features of the examples that are counted.
      test_labels: the classes of the test examples.
      l2: the weight $\lambda$ of the squared norm, relative to the mean of the losses, not to their sum: it means the same for
        any n.
      each: whether each feature is scaled to a variance of 1; else one factor brings their mean variance to 1, so that sparse
        features that are seldom active do not weigh as much as the others.
      max_iter: the largest number of iterations of L-BFGS. Where it does not converge, scikit-learn's `ConvergenceWarning` says
        so: give it more.

    Returns:
      The share of the test examples whose most probable class is their own, in [0, 1].

    Raises:
      ValueError: if there is one class only, a feature is not finite, or a label is negative (withheld).

    >>> x, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    >>> linear(x, y, x + 0.5, y)
    1.0

    Source: Alain & Bengio 2016.
    """
    _check(train_features, train_labels, test_features, test_labels)
    found = classes_of(train_features, train_labels, test_features, l2=l2, each=each, max_iter=max_iter)
    return float((found == test_labels).mean())


def classes_of(
    train_features: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, " n"],
    test_features: Float[np.ndarray, "m d"],
    *,
    l2: float = 1e-4,
    each: bool = True,
    max_iter: int = 1000,
) -> Int[np.ndarray, " m"]:
    """The classes that the classifier of `linear` gives to examples, whose arguments these are.

    >>> classes_of(np.array([[-1.0], [1.0]]), np.array([0, 1]), np.array([[0.5], [-3.0]])).tolist()
    [1, 0]
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    # float64: the line search of L-BFGS stops early on the noise of float32.
    scaler = StandardScaler().fit(np.asarray(train_features, np.float64))
    if not each:
        scaler.scale_ = np.full_like(scaler.var_, np.sqrt(scaler.var_.mean()) or 1)
    classifier = LogisticRegression(C=1 / (l2 * len(train_features)), max_iter=max_iter)
    classifier.fit(scaler.transform(np.asarray(train_features, np.float64)), train_labels)
    return classifier.predict(scaler.transform(np.asarray(test_features, np.float64)))


def nearest(
    train_features: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, " n"],
    test_features: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    r"""Accuracy of the vote of the k training examples that are nearest by the cosine.

    A neighbour i counts $\exp(\cos(x_i, x) / \tau)$ for its class, and the class with the largest sum is the answer. Training
    examples that are as near as the k-th, duplicates for instance, share the places that the nearer ones leave; classes
    with equal sums share the answer. So no value depends on an order.

    Args:
      train_features: the features, one row for each example.
      train_labels: the classes of the training examples, whole numbers from 0 on.
      test_features: the features of the examples that are counted.
      test_labels: the classes of the test examples.
      k: the number of neighbours that vote: 200 in the paper, 20 in most of what came after it.
      temperature: the temperature $\tau$.

    Returns:
      The share of the test examples whose answer is their own class, in [0, 1].

    Raises:
      ValueError: if there are fewer than k training examples, k is below one, a feature is not finite, or a label is negative
        (withheld).

    >>> x, y = np.eye(2, dtype=np.float32), np.array([3, 5])
    >>> nearest(x, y, x * 9, np.array([3, 3]), k=1)
    0.5

    Source: Wu et al. 2018, section 3.4.
    """
    if not 1 <= k <= len(train_features):
        raise ValueError(f"a vote of {k} cannot be held among {len(train_features)} training examples")
    _check(train_features, train_labels, test_features, test_labels)
    train, classes = _unit(train_features), 1 + max(int(train_labels.max()), int(test_labels.max()))
    member = np.eye(classes)[train_labels]
    right = []
    for start in range(0, len(test_features), ROWS):
        cosine = _unit(test_features[start : start + ROWS]) @ train.T
        least = np.partition(cosine, -k, axis=1)[:, -k, None]
        level, above = np.abs(cosine - least) <= RESOLUTION, cosine > least + RESOLUTION
        # The places that the nearer ones leave, shared by all that are on a level with the k-th.
        places = above + level * ((k - above.sum(1)) / level.sum(1))[:, None]
        # From the nearest one: exp(1 / tau) overflows for a small temperature.
        votes = (places * np.exp((cosine - cosine.max(1, keepdims=True)) / temperature)) @ member
        first = votes >= votes.max(1, keepdims=True) * (1 - RESOLUTION)
        own = np.take_along_axis(first, test_labels[start : start + ROWS, None], axis=1)[:, 0]
        right.append(own / first.sum(1))
    return float(np.concatenate(right).mean())


def _unit(x: np.ndarray) -> np.ndarray:
    """Rows of length one, in float64; zeros stay zeros."""
    x = np.asarray(x, np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1.0)


def _check(train_features: np.ndarray, train_labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray) -> None:
    check_finite(training_features=train_features, test_features=test_features)
    check_labels(train_labels, name="the training labels")
    check_labels(test_labels, name="the test labels")
