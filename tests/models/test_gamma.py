"""Learned noise schedules: their ends, their slopes, what gradients reach, and the authors' formula."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import variational

from jaxgen.models.diffusion import FixedGamma, LinearGamma, MonotoneGamma

T = jnp.linspace(0.0, 1.0, 101)
GAMMAS: dict[str, Any] = {
    "fixed": FixedGamma(-9.0, 4.0),
    "scalar": LinearGamma(-9.0, 4.0),
    "network": MonotoneGamma(-9.0, 4.0, features=16),
}


def bent(seed: int = 0, features: int = 16) -> dict[str, Any]:
    """Parameters of a network that is far from a line, some of them negative."""
    rng = np.random.default_rng(seed)
    p = {"a": -0.5, "u": 20 * rng.normal(size=features), "c": 5 * rng.normal(size=features), "v": 3 * rng.normal(size=features)}
    return {"params": jax.tree.map(jnp.float32, {**p, "b": -8.0, "w": -11.0})}


@pytest.mark.parametrize("name", GAMMAS)
def test_all_begin_between_the_given_ends_and_rise(name: str) -> None:
    module = GAMMAS[name]
    found = module.apply(module.init(jax.random.key(0), T), T)
    np.testing.assert_allclose(found[jnp.array([0, -1])], [-9.0, 4.0], atol=1e-5)
    assert (jnp.diff(found) > 0).all()


def test_a_line_ends_where_its_parameters_say() -> None:
    found = LinearGamma().apply({"params": {"b": jnp.float32(-3.0), "w": jnp.float32(-2.0)}}, T)
    np.testing.assert_allclose(found, -3 + 2 * T, atol=1e-6)


def test_the_ends_that_the_paper_begins_with() -> None:
    for module in (FixedGamma(), LinearGamma(), MonotoneGamma(features=4)):
        found = module.apply(module.init(jax.random.key(0), T), jnp.array([0.0, 1.0]))
        np.testing.assert_allclose(found, [-13.3, 5.0], atol=1e-5)
    assert MonotoneGamma().features == 1024


@pytest.mark.parametrize("seed", range(3))
def test_a_network_rises_whatever_the_signs_of_its_weights_and_keeps_its_ends(seed: int) -> None:
    found = np.asarray(GAMMAS["network"].apply(bent(seed), T))
    np.testing.assert_allclose(found[[0, -1]], [-8.0, 3.0], atol=1e-5)
    assert (np.diff(found) > 0).all()
    assert np.abs(found - np.linspace(-8, 3, len(T))).max() > 0.3


def test_a_network_is_the_authors_between_its_ends() -> None:
    variables = bent()
    m = variational.nnet(jax.tree.map(np.float64, variables["params"]), np.asarray(T, np.float64))
    np.testing.assert_allclose(GAMMAS["network"].apply(variables, T), -8 + 11 * (m - m[0]) / (m[-1] - m[0]), atol=2e-5)


def test_the_slope_is_that_of_finite_differences() -> None:
    variables, t = bent(), jnp.linspace(0.05, 0.95, 13)
    gamma = lambda t: GAMMAS["network"].apply(variables, t)
    _, slope = jax.jvp(gamma, (t,), (jnp.ones_like(t),))
    p = jax.tree.map(np.float64, variables["params"])
    at = lambda t: variational.nnet(p, np.asarray(t, np.float64))
    m = (at(t + 1e-3) - at(t - 1e-3)) / 2e-3
    np.testing.assert_allclose(slope, 11 * m / (at(jnp.ones(1)) - at(jnp.zeros(1))), rtol=5e-3)


def test_a_scalar_time_is_one_of_an_array() -> None:
    variables = bent()
    found = GAMMAS["network"].apply(variables, jnp.float32(0.3))
    assert found.shape == ()
    assert found == pytest.approx(float(GAMMAS["network"].apply(variables, T)[30]), abs=1e-5)


@pytest.mark.parametrize("name", ["scalar", "network"])
@pytest.mark.parametrize("reached", [{"ends": False}, {"interior": False}, {}])
def test_gradients_reach_the_ends_or_the_interior(name: str, reached: dict[str, bool]) -> None:
    module = GAMMAS[name]
    variables = bent() if name == "network" else module.init(jax.random.key(0), T)

    def both(variables: Any, **reached: bool) -> jax.Array:
        value, slope = jax.jvp(lambda t: module.apply(variables, t, **reached), (T[5:50],), (jnp.ones(45),))
        return (value + slope).sum()

    assert both(variables, **reached) == pytest.approx(float(both(variables)), rel=1e-6)
    for parameter, gradient in jax.grad(both)(variables, **reached)["params"].items():
        end = parameter in ("b", "w")
        assert bool(jnp.abs(gradient).max() > 0) == reached.get("ends" if end else "interior", True), parameter
