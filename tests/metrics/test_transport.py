"""Optimal transport against SciPy's assignment and quantiles, and what is known in closed form."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, minimize
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import norm, wasserstein_distance

from jaxgen.errors import UserError
from jaxgen.metrics import transport
from jaxgen.metrics.transport import entropic, sinkhorn_divergence, wasserstein

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 3)), RNG.normal(size=(20, 3)) * [1, 2, 0.5] + 0.5


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_of_equal_numbers_it_is_the_best_assignment(p: float | int) -> None:
    cost = cdist(X[:20], Y) ** p
    expected = cost[linear_sum_assignment(cost)].mean() ** (1 / p)
    assert wasserstein(X[:20], Y, p=p) == pytest.approx(expected, rel=1e-9)


def test_on_a_line_it_is_scipys_and_of_sorted_points() -> None:
    x, y = X[:, :1], Y[:, 1:2]
    assert wasserstein(x, y, p=1) == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-9)
    x = x[:20]
    expected = np.sqrt(((np.sort(x[:, 0]) - np.sort(y[:, 0])) ** 2).mean())
    assert wasserstein(x, y) == pytest.approx(expected, rel=1e-9)


def test_between_quantiles_of_gaussians_it_is_their_closed_form() -> None:
    """(m - m')^2 + (s - s')^2 on a line, where quantiles are points without noise."""
    z = norm.ppf((np.arange(400) + 0.5) / 400)[:, None]
    assert wasserstein(z, 3 + 2 * z) == pytest.approx(np.sqrt(9 + z.var()), rel=1e-9)
    assert wasserstein(z, 3 + 2 * z) == pytest.approx(np.sqrt(9 + 1), rel=2e-3)


@given(seed=st.integers(0, 10_000), p=st.sampled_from([1.0, 2.0]))
@settings(max_examples=30)
def test_it_is_a_distance(seed: int, p: float | int) -> None:
    rng = np.random.default_rng(seed)
    x, y, z = (rng.normal(size=(n, 2)) * s for n, s in ((5, 1), (7, 2), (4, 0.5)))
    d = lambda a, b: wasserstein(a, b, p=p)
    assert d(x, rng.permutation(x)) == pytest.approx(0, abs=1e-6)
    assert d(x, y) == pytest.approx(d(y, x), rel=1e-9)
    assert d(x, z) <= d(x, y) + d(y, z) + 1e-9
    shift, turn = rng.normal(size=2), np.linalg.qr(rng.normal(size=(2, 2)))[0]
    assert d(x, x + shift) == pytest.approx(np.linalg.norm(shift), rel=1e-9)  # of a translation: its length
    assert d(x @ turn * 3 + shift, y @ turn * 3 + shift) == pytest.approx(3 * d(x, y), rel=1e-7)
    # Equal weights: every point twice is the same set.
    assert d(np.repeat(x, 2, axis=0), y) == pytest.approx(d(x, y), rel=1e-9)


def dual(x: np.ndarray, y: np.ndarray, epsilon: float, p: float | int) -> float:
    """The entropic cost by a general maximiser, the second potential being the best for the first."""
    cost = cdist(x, y) ** p

    def value(f: np.ndarray) -> float:
        g = -epsilon * (logsumexp((f[:, None] - cost) / epsilon, axis=0) - np.log(len(x)))
        return f.mean() + g.mean()

    return -minimize(lambda f: -value(f), np.zeros(len(x)), tol=1e-12).fun


@pytest.mark.parametrize(("epsilon", "p"), [(0.3, 2), (3.0, 2), (0.3, 1)])
def test_the_entropic_cost_is_the_maximum_of_its_dual(epsilon: float, p: float | int) -> None:
    x, y = X[:5], Y[:4]
    assert entropic(x, y, epsilon=epsilon, p=p) == pytest.approx(dual(x, y, epsilon, p), rel=1e-6)
    parts = dual(x, y, epsilon, p) - dual(x, x, epsilon, p) / 2 - dual(y, y, epsilon, p) / 2
    assert sinkhorn_divergence(x, y, epsilon=epsilon, p=p) == pytest.approx(parts, rel=1e-4)


@pytest.mark.parametrize("p", [1, 2])
def test_the_entropic_cost_rises_from_the_exact_one_to_that_of_independent_pairs(p: float | int) -> None:
    exact, independent = wasserstein(X, Y, p=p) ** p, (cdist(X, Y) ** p).mean()
    epsilons = np.array([0.1, 0.3, 1.0, 10.0, 1e4])
    costs = np.array([entropic(X, Y, epsilon=e, p=p) for e in epsilons.tolist()])
    assert (np.diff(costs) > 0).all()
    # No coupling of n points and m has more information than log min(n, m).
    assert ((exact < costs) & (costs < exact + epsilons * np.log(20))).all()
    assert costs[-1] == pytest.approx(independent, rel=1e-3)


def test_the_divergence_goes_from_the_transport_to_the_means() -> None:
    near = [abs(sinkhorn_divergence(X, Y, epsilon=e) - wasserstein(X, Y) ** 2) for e in (1.0, 0.3, 0.1)]
    assert near[0] > near[1] > near[2]
    assert near[2] < 0.06
    assert sinkhorn_divergence(X, Y, epsilon=1e4) == pytest.approx(((X.mean(0) - Y.mean(0)) ** 2).sum(), rel=1e-2)
    energy = (cdist(X, Y).mean() - cdist(X, X).mean() / 2 - cdist(Y, Y).mean() / 2).item()
    assert sinkhorn_divergence(X, Y, epsilon=1e4, p=1) == pytest.approx(energy, rel=1e-2)


@pytest.mark.parametrize("epsilon", [0.5, 5.0])
def test_the_divergence_is_0_for_equal_sets_alone(epsilon: float) -> None:
    assert sinkhorn_divergence(X, X[::-1].copy(), epsilon=epsilon) == pytest.approx(0, abs=1e-6)
    assert sinkhorn_divergence(X, X * 1.2, epsilon=epsilon) > 1e-3
    # A translation costs the square of its length, whatever the entropy.
    assert sinkhorn_divergence(X, X + np.array([1.0, 2.0, 0.0]), epsilon=epsilon) == pytest.approx(5, rel=1e-5)


def test_what_is_no_distance_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="one or more"):
        wasserstein(X, Y, p=0.5)
    with pytest.raises(ValueError, match="above 0"):
        entropic(X, Y, epsilon=0.0)
    with pytest.warns(UserWarning, match="did not converge"):
        entropic(X, Y, epsilon=0.01, max_iter=15)
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(UserError, match=r'pip install "jaxgen\[metrics\]"'):
        transport.wasserstein(X, Y)
