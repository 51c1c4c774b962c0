"""What a classifier reads off features that were learnt without labels: a linear one, and the nearest neighbours' vote."""

import numpy as np
from jaxtyping import Float, Int


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
      train_features: one row an example.
      train_labels: their classes, any integers.
      test_features: of the examples that are counted.
      test_labels: their classes.
      l2: $\lambda$, of the mean and not of the sum: it means the same for any n.
      each: each feature's variance is 1; else their mean is, by one factor for all of them, so that of sparse features those
        that are seldom active do not weigh as much as the others.
      max_iter: of L-BFGS. Where it does not converge, scikit-learn's `ConvergenceWarning` says so: give it more.

    Returns:
      The share of the test examples whose most probable class is their own, in [0, 1].

    Raises:
      ValueError: if there is one class only.

    >>> x, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    >>> linear(x, y, x + 0.5, y)
    1.0

    Source: Alain & Bengio 2016.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    # float64: the line search of L-BFGS stops early on the noise of float32.
    scaler = StandardScaler().fit(np.asarray(train_features, np.float64))
    if not each:
        scaler.scale_ = np.full_like(scaler.var_, np.sqrt(scaler.var_.mean()) or 1)
    classifier = LogisticRegression(C=1 / (l2 * len(train_features)), max_iter=max_iter)
    classifier.fit(scaler.transform(np.asarray(train_features, np.float64)), train_labels)
    return float(classifier.score(scaler.transform(np.asarray(test_features, np.float64)), test_labels))


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

    A neighbour i counts $\exp(\cos(x_i, x) / \tau)$ for its class, and the class with the largest sum is the answer.

    Args:
      train_features: one row an example.
      train_labels: their classes, any integers.
      test_features: of the examples that are counted.
      test_labels: their classes.
      k: how many vote: 200 in the paper, 20 in most of what came after it.
      temperature: $\tau$.

    Returns:
      The share of the test examples whose answer is their own class, in [0, 1].

    Raises:
      ValueError: if there are fewer than k training examples, or k is below one.

    >>> x, y = np.eye(2, dtype=np.float32), np.array([3, 5])
    >>> nearest(x, y, x * 9, np.array([3, 3]), k=1)
    0.5

    Source: Wu et al. 2018, section 3.4.
    """
    if not 1 <= k <= len(train_features):
        raise ValueError(f"a vote of {k} cannot be held among {len(train_features)} training examples")
    from sklearn.neighbors import KNeighborsClassifier

    def weigh(distances: np.ndarray) -> np.ndarray:
        # From the nearest one: exp(1 / tau) overflows for a small temperature.
        return np.exp((distances.min(1, keepdims=True) - distances) / temperature)

    classifier = KNeighborsClassifier(k, weights=weigh, metric="cosine", algorithm="brute")
    return float(classifier.fit(train_features, train_labels).score(test_features, test_labels))
