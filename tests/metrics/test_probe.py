"""Probes against SciPy's optimum and sums that are written out, and where the answer is known."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from jaxgen.metrics import probe

DIGITS = load_digits()
X, Y = DIGITS.data.astype(np.float32)[:900], DIGITS.target[:900]
TRAIN, TEST = (X[:500], Y[:500]), (X[500:], Y[500:])
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(60, 2)) * [1, 30] + 100, RNG.integers(0, 3, 60)


@pytest.mark.parametrize("each", [True, False])
def test_linear_is_the_minimum_of_the_mean_and_the_penalty(each: bool) -> None:
    """Three classes that overlap, minimised by SciPy: the penalty is of the mean, and the scale of a feature no matter."""
    (x, y), l2 = NOISE, 0.3
    train, test = (x[:30], y[:30]), (x[30:], y[30:])
    variance = train[0].var(0) if each else (train[0].var(0)[0] + train[0].var(0)[1]) / 2
    standard = lambda z: (z - train[0].mean(0)) / np.sqrt(variance)

    def logits(p: np.ndarray, z: np.ndarray) -> np.ndarray:
        return standard(z) @ p[:6].reshape(2, 3) + p[6:]

    def objective(p: np.ndarray) -> float:
        a = logits(p, train[0])
        return (logsumexp(a, axis=1) - a[np.arange(30), train[1]]).mean() + l2 / 2 * (p[:6] ** 2).sum()

    p = minimize(objective, np.zeros(9), tol=1e-10).x
    answers = logits(p, test[0]).argmax(1)
    assert probe.linear(*train, *test, l2=l2, each=each) == pytest.approx((answers == test[1]).mean())
    # Asked point by point: one answer for each class tells which one it was.
    for i in range(30):
        assert probe.linear(*train, test[0][i : i + 1], answers[i : i + 1], l2=l2, each=each) == 1


def test_linear_does_not_feel_the_scale_of_features_or_the_names_of_classes() -> None:
    plain = probe.linear(*TRAIN, *TEST)
    assert 0.8 < plain < 1
    scale = np.exp(RNG.normal(size=64)).astype(np.float32)
    assert probe.linear(TRAIN[0] * scale + 5, 27 - 3 * TRAIN[1], TEST[0] * scale + 5, 27 - 3 * TEST[1]) == pytest.approx(plain)


def test_without_a_factor_each_linear_feels_the_scale_of_features_against_each_other_alone() -> None:
    plain = probe.linear(*TRAIN, *TEST, l2=0.1, each=False)
    assert probe.linear(TRAIN[0] * 7 + 5, TRAIN[1], TEST[0] * 7 + 5, TEST[1], l2=0.1, each=False) == pytest.approx(plain)
    scale = np.where(np.arange(64) < 10, 100, 1).astype(np.float32)
    assert probe.linear(TRAIN[0] * scale, TRAIN[1], TEST[0] * scale, TEST[1], l2=0.1, each=False) < plain - 0.1
    nothing = np.ones((20, 3))
    assert probe.linear(nothing, np.arange(20) % 2, nothing, np.zeros(20, int), each=False) in (0, 1)


def test_linear_says_where_it_did_not_converge() -> None:
    with pytest.warns(ConvergenceWarning):
        probe.linear(*TRAIN, *TEST, max_iter=3)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (20, 0.001), (300, 1.0)])
def test_the_vote_is_the_sum_of_the_nearests_weights(k: int, temperature: float) -> None:
    (x, y), (other, truth) = TRAIN, TEST
    unit = lambda z: z.astype(np.float64) / np.linalg.norm(z.astype(np.float64), axis=1, keepdims=True)
    cosine = unit(other) @ unit(x).T
    nearest = np.argsort(-cosine, axis=1)[:, :k]
    log_weight = np.take_along_axis(cosine, nearest, axis=1) / temperature
    log_votes = [logsumexp(np.where(y[nearest] == c, log_weight, -np.inf), axis=1) for c in range(10)]
    assert probe.nearest(*TRAIN, *TEST, k=k, temperature=temperature) == (np.argmax(log_votes, axis=0) == truth).mean()


def test_the_vote_is_of_directions_and_weighs_the_nearer_more() -> None:
    train = np.array([[1, 0], [0, 1], [0.01, 1], [-1, 0]], np.float32)
    x = np.array([[9, 1]], np.float32)
    answers = lambda k, t: [
        c for c in (4, 8, 9) if probe.nearest(train, np.array([4, 8, 8, 9]), x, np.array([c]), k=k, temperature=t)
    ]
    assert answers(1, 0.07) == [4]
    assert answers(3, 0.07) == [4]  # one near, two far
    assert answers(3, 100.0) == [8]  # all the same: two against one
    assert answers(4, 100.0) == [8]


def test_features_that_know_nothing_score_chance() -> None:
    rng = np.random.default_rng(1)
    train, test = (rng.normal(size=(600, 4)).astype(np.float32) for _ in range(2))
    labels = rng.integers(0, 2, (2, 600))
    for accuracy in (probe.linear(train, labels[0], test, labels[1]), probe.nearest(train, labels[0], test, labels[1])):
        assert abs(accuracy - 0.5) < 4 * np.sqrt(0.25 / 600)
    dead = np.zeros((600, 4), np.float32)
    assert 0 <= probe.nearest(dead, labels[0], dead, labels[1]) <= 1


@pytest.mark.parametrize("k", [0, 501])
def test_a_vote_without_voters_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"a vote of {k} cannot be held among 500"):
        probe.nearest(*TRAIN, *TEST, k=k)
