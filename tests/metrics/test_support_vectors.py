"""Support vector machines on few labelled examples."""

import numpy as np
import pytest
from scipy.optimize import minimize

from jaxgen.metrics import support_vectors
from jaxgen.metrics.support_vectors import few_labels, linear_svm


def mixture(n: int, seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[labels], labels


def test_the_classes_are_those_of_the_least_squared_hinge_against_the_rest() -> None:
    (x, y), (test, labels), c = mixture(60, 0), mixture(500, 1), 0.02

    def least(positive: np.ndarray) -> np.ndarray:
        sign, ones = np.where(positive, 1.0, -1.0), np.concatenate([x, np.ones((len(x), 1))], axis=1)
        # As in liblinear, the bias is the weight of a further feature, which is 1, and is in the norm too.
        loss = lambda w: 0.5 * w @ w + c * (np.maximum(0, 1 - sign * (ones @ w)) ** 2).sum()
        return minimize(loss, np.zeros(5), tol=1e-12).x

    weights = np.stack([least(y == one) for one in range(3)])
    scores = np.concatenate([test, np.ones((500, 1))], axis=1) @ weights.T
    assert linear_svm(x, y, test, labels, c=(c,)) == pytest.approx((scores.argmax(1) == labels).mean(), abs=0.003)


def test_c_is_the_one_that_is_best_on_the_examples_that_are_held_out() -> None:
    (x, y), (test, labels) = mixture(300, 2), mixture(300, 3)
    # With so many more of one class a weak C names no other.
    x, y = x[np.argsort(y)[:130]], np.sort(y)[:130]
    test, labels = test[labels < 2], labels[labels < 2]
    every = {c: linear_svm(x, y, test, labels, c=(c,)) for c in (1e-6, 0.1)}
    assert every[1e-6] < every[0.1] - 0.05
    assert linear_svm(x, y, test, labels, c=(1e-6, 0.1)) == every[0.1]
    # Of values that are equally good, the first one.
    assert linear_svm(x, y, test, labels, c=(0.1, 0.1 + 1e-9)) == every[0.1]


def test_few_labels_are_drawn_evenly_and_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    (x, y), (test, labels) = mixture(400, 4), mixture(300, 5)
    y[:300], seen = 0, []
    y[300:] = np.arange(100) % 3
    monkeypatch.setattr(support_vectors, "linear_svm", lambda a, b, *others, seed: seen.append((a, b)) or 0.9 - 0.1 * seed)
    found = few_labels(x, y, test, labels, labels=31, draws=3, seed=7)
    assert all(np.bincount(b).tolist() == [10, 10, 10] for _, b in seen)
    assert not np.array_equal(seen[0][0], seen[1][0])
    assert found.error == pytest.approx(0.2)
    assert found.stderr == pytest.approx(0.1 / np.sqrt(3))
    few_labels(x, y, test, labels, labels=31, draws=1, seed=7)
    np.testing.assert_array_equal(seen[3][0], seen[0][0])
    few_labels(x, y, test, labels, labels=31, draws=1, seed=8)
    assert not np.array_equal(seen[4][0], seen[0][0])
    # A class that has fewer gives all of its own.
    few_labels(x, y, test, labels, labels=300, draws=1)
    assert np.bincount(seen[5][1]).tolist() == [100, 33, 33]


def test_more_labels_err_less() -> None:
    known, others = mixture(2000, 6), mixture(2000, 7)
    few, many = (few_labels(*known, *others, labels=n, draws=5).error for n in (6, 600))
    assert many < few - 0.01


def test_what_cannot_be_classified_is_refused() -> None:
    x, y = mixture(20, 8)
    with pytest.raises(ValueError, match="2 labelled examples cannot show 3 classes"):
        few_labels(x, y, x, y, labels=2)
    with pytest.raises(ValueError, match="label"):
        linear_svm(x, np.where(y == 0, -1, y), x, y)
    x[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"training.features"):
        linear_svm(x, y, x, y)
