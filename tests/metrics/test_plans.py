"""Plans of transport against SciPy's assignment and linear program, and maps of normal laws against their closed forms."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist

from jaxgen.metrics import frechet, transport
from jaxgen.metrics.plans import gaussian_map, plan

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 2)), RNG.normal(size=(15, 2)) * [1, 2] + 0.5


@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_plan_of_equal_numbers_is_the_best_assignment(p: int) -> None:
    found = plan(X[:15], Y, p=p)
    rows, columns = linear_sum_assignment(cdist(X[:15], Y) ** p)
    np.testing.assert_allclose(found.mass[rows, columns], 1 / 15)
    assert found.cost ** (1 / p) == pytest.approx(transport.wasserstein(X[:15], Y, p=p), rel=1e-9)


@pytest.mark.parametrize("p", [1, 2])
def test_the_potentials_prove_the_plan(p: int) -> None:
    """Kantorovich's duality: no pair is paid more than its cost, and those that mass goes between are paid it."""
    found, cost = plan(X, Y, p=p), cdist(X, Y) ** p
    slack = cost - found.f[:, None] - found.g
    assert slack.min() > -1e-9
    np.testing.assert_allclose(slack[found.mass > 0], 0, atol=1e-9)
    assert found.f.mean() + found.g.mean() == pytest.approx(found.cost, rel=1e-9)
    np.testing.assert_allclose(found.mass.sum(1), 1 / 20)
    np.testing.assert_allclose(found.mass.sum(0), 1 / 15)


def test_the_cost_of_p_1_is_kantorovichs_dual_over_functions_of_slope_1() -> None:
    """A linear program of the values of one function at all points, whose differences are at most the distances."""
    x, y = X[:8], Y[:8]
    points = np.concatenate([x, y])
    n = len(points)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    bounds = np.zeros((len(pairs), n))
    for row, (i, j) in enumerate(pairs):
        bounds[row, i], bounds[row, j] = 1, -1
    gain = np.concatenate([np.full(8, 1 / 8), np.full(8, -1 / 8)])
    solved = linprog(-gain, A_ub=bounds, b_ub=[cdist(points, points)[pair] for pair in pairs], bounds=[(-50, 50)] * n)
    assert -solved.fun == pytest.approx(plan(x, y, p=1).cost, rel=1e-6)


def test_a_map_carries_one_normal_law_to_the_other() -> None:
    mean, other = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    s, r = (m @ m.T + 0.3 * np.eye(2) for m in RNG.normal(size=(2, 2, 2)))
    a, b = gaussian_map(mean, s, other, r)
    np.testing.assert_allclose(a @ s @ a.T, r, rtol=1e-9)
    np.testing.assert_allclose(a @ mean + b, other, rtol=1e-9)
    np.testing.assert_allclose(a, a.T, atol=1e-12)
    assert np.linalg.eigvalsh(a).min() > 0, "the gradient of a convex function"
    root = np.real(sqrtm(s))
    np.testing.assert_allclose(a, np.linalg.inv(root) @ np.real(sqrtm(root @ r @ root)) @ np.linalg.inv(root), rtol=1e-7)


def test_the_cost_of_the_map_is_the_squared_frechet_distance() -> None:
    mean, other = np.zeros(2), np.array([1.0, 2.0])
    s, r = np.diag([1.0, 4.0]), np.array([[2.0, 0.5], [0.5, 1.0]])
    a, b = gaussian_map(mean, s, other, r)
    moved = (a - np.eye(2)) @ s @ (a - np.eye(2)).T
    cost = np.trace(moved) + ((a @ mean + b - mean) ** 2).sum()
    n = 10
    assert cost == pytest.approx(frechet.distance(*(frechet.Moments(n, m, c * (n - 1)) for m, c in ((mean, s), (other, r)))))
    with pytest.raises(ValueError, match="full rank"):
        gaussian_map(mean, np.diag([1.0, 0.0]), other, r)


def test_the_plan_of_points_that_a_map_moves_is_the_map() -> None:
    """A gradient of a convex function is optimal between any set of points and their images (Brenier)."""
    a, b = gaussian_map(np.zeros(2), np.diag([1.0, 4.0]), np.ones(2), np.array([[2.0, 0.5], [0.5, 1.0]]))
    np.testing.assert_allclose(plan(X, X @ a.T + b).mass, np.eye(20) / 20)


def test_the_distance_of_samples_tends_to_that_of_their_laws() -> None:
    """On a line the distance of n points from n others of the same law falls as the root of n."""
    sizes, repeats = (50, 200, 800), 20
    found = [np.mean([transport.wasserstein(*RNG.normal(size=(2, n, 1))) for _ in range(repeats)]) for n in sizes]
    slope = np.polyfit(np.log(sizes), np.log(found), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.15)
