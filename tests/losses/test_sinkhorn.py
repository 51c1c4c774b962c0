"""The Sinkhorn divergence as a loss, against POT on the host, finite differences and the linear program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from jaxgen.errors import InputError
from jaxgen.losses import sinkhorn
from jaxgen.metrics import transport

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(12, 3)), jnp.float32)
Y = jnp.asarray(RNG.normal(size=(9, 3)) * [1, 2, 0.5] + 0.5, jnp.float32)
HOST = np.asarray(X), np.asarray(Y)


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 10.0])
def test_the_entropic_cost_is_pots(epsilon: float) -> None:
    found = sinkhorn.entropic(sinkhorn.squared_distances(X, Y), epsilon=epsilon, iterations=500)
    assert float(found.cost) == pytest.approx(transport.entropic(*HOST, epsilon=epsilon, tolerance=1e-7), rel=1e-4)
    np.testing.assert_allclose(found.plan.sum(0), 1 / 9, rtol=1e-4)
    np.testing.assert_allclose(found.plan.sum(1), 1 / 12, rtol=1e-3)
    assert float(found.marginal_error) < 1e-3


@pytest.mark.parametrize("epsilon", [1.0, 5.0])
def test_the_divergence_is_pots_and_zero_of_equal_sets(epsilon: float) -> None:
    found, error = sinkhorn.sinkhorn_divergence(X, Y, epsilon=epsilon, iterations=500)
    assert float(found) == pytest.approx(transport.sinkhorn_divergence(*HOST, epsilon=epsilon, tolerance=1e-7), rel=1e-3)
    assert float(error) < 1e-3
    same, _ = sinkhorn.sinkhorn_divergence(X, X[::-1], epsilon=epsilon, iterations=500)
    assert float(same) == pytest.approx(0, abs=1e-4)


def test_a_small_epsilon_gives_the_best_assignment() -> None:
    cost = np.asarray(sinkhorn.squared_distances(X[:9], Y))
    rows, columns = linear_sum_assignment(cost)
    found = sinkhorn.entropic(jnp.asarray(cost), epsilon=0.02, iterations=5000)
    np.testing.assert_array_equal(np.asarray(found.plan)[rows].argmax(1), columns)
    assert float(found.cost) == pytest.approx(cost[rows, columns].mean(), abs=0.02 * np.log(9))


def test_the_gradient_is_that_of_the_value() -> None:
    """Against differences of POT's value, which is solved to its end at every point."""
    value = lambda x: sinkhorn.sinkhorn_divergence(x, Y, epsilon=1.0, iterations=300)[0]
    slope = np.asarray(jax.grad(value)(X))
    whole = HOST[0].astype(np.float64)
    for i, d in ((0, 0), (3, 1), (11, 2)):
        step = np.zeros_like(whole)
        step[i, d] = 1e-3
        ends = (transport.sinkhorn_divergence(whole + s * step, HOST[1], epsilon=1.0, tolerance=1e-10) for s in (1, -1))
        assert slope[i, d] == pytest.approx(np.subtract(*ends) / 2e-3, rel=2e-3, abs=1e-5)


def test_a_translation_is_descended_along_its_length() -> None:
    r"""Of a set and its copy moved by t the divergence is $|t|^2$ at any epsilon, and every point's slope is $2 t / n$."""
    moved = X + jnp.float32([1.0, -2.0, 0.5])
    value, slope = jax.value_and_grad(lambda y: sinkhorn.sinkhorn_divergence(y, X, epsilon=1.0, iterations=500)[0])(moved)
    assert float(value) == pytest.approx(5.25, rel=1e-3)
    np.testing.assert_allclose(np.asarray(slope).sum(0), 2 * np.array([1.0, -2.0, 0.5]), rtol=1e-3)


def test_points_without_mass_take_no_part() -> None:
    far = jnp.concatenate([X, jnp.full((2, 3), 50.0)])
    mass = jnp.float32([*[1 / 12] * 12, 0, 0])
    value = lambda x, a: sinkhorn.sinkhorn_divergence(x, Y, a, epsilon=1.0, iterations=300)[0]
    found, slope = jax.value_and_grad(value)(far, mass)
    assert float(found) == pytest.approx(float(value(X, None)), rel=1e-4)
    assert np.isfinite(np.asarray(slope)).all()
    np.testing.assert_array_equal(slope[12:], 0)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan")])
def test_no_regularisation_is_refused(epsilon: float) -> None:
    with pytest.raises(InputError, match="is above 0; got epsilon"):
        sinkhorn.entropic(jnp.zeros((2, 2)), epsilon=epsilon)


def test_large_costs_against_a_small_epsilon_are_finite() -> None:
    found = sinkhorn.entropic(jnp.asarray([[0.0, 1e6], [1e6, 0.0]], jnp.float32), epsilon=1e-3)
    assert float(found.cost) == pytest.approx(1e-3 * np.log(2), rel=1e-3)
