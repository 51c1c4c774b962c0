"""Sampling along gamma: the authors' steps, the posterior of the chain, and exact marginals of Gaussian data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import variational

from jaxgen.diffusion import Level, Prediction, discretised, from_gamma
from jaxgen.objectives import nearest_level
from jaxgen.samplers import along_gamma, march, noise, tables
from jaxgen.samplers.variational import table_of_gamma

KEY = jax.random.key(3)
GAMMA = np.array([-13.3, -9.0, -2.0, 0.5, 5.0])


def test_steps_are_the_authors() -> None:
    eps_hat = lambda z: np.sin(2 * z)
    denoise = lambda x, level: Prediction((x - level.sigma * jnp.sin(2 * x)) / level.alpha, jnp.sin(2 * x))
    x = jax.random.normal(KEY, (3, 2))
    z = np.asarray(x, np.float64)
    for j, (g_s, g_t) in enumerate(zip(GAMMA[-2::-1], GAMMA[:0:-1], strict=True)):
        drawn = np.asarray(jax.random.normal(jax.random.fold_in(KEY, j), z.shape))
        z = variational.step(z, eps_hat(z), g_s, g_t, drawn)
    found = march(table_of_gamma(jnp.asarray(GAMMA, jnp.float32)))(denoise, x, KEY).x
    np.testing.assert_allclose(found, z, rtol=1e-4, atol=1e-4)


def test_a_thousand_steps_are_computed_as_well_in_single_precision() -> None:
    gamma = np.linspace(-13.3, 5.0, 1001)
    table = table_of_gamma(jnp.asarray(gamma, jnp.float32))
    chain = discretised(from_gamma(lambda t: -13.3 + 18.3 * t), np.linspace(0.0, 1.0, 1001))
    exact = tables.ancestral(chain)
    np.testing.assert_allclose(table.x, exact.x[:-1], rtol=1e-4)
    np.testing.assert_allclose(table.data, exact.data[:-1], rtol=1e-3)
    np.testing.assert_allclose(table.variance, exact.variance[:-1], rtol=1e-3)
    for ours, theirs in zip(table.level, exact.level, strict=True):
        np.testing.assert_allclose(ours, theirs[:-1], rtol=1e-4)


def test_a_point_is_reached_and_read_from_its_level() -> None:
    """The exact denoiser of one image, at whose z_0 there is noise, which the levels take off."""
    point = variational.encode(np.array([3.0, 128.0, 250.0]))

    def denoise(x: jax.Array, level: Level) -> Prediction:
        return Prediction(
            jnp.asarray(point, jnp.float32) + 0 * x, (x - level.alpha * jnp.asarray(point, jnp.float32)) / level.sigma
        )

    start = noise(jax.random.key(5), (4, 3), Level(jnp.float32(1.0), jnp.float32(0.0), jnp.float32(1.0)))
    found = along_gamma(jnp.asarray(GAMMA, jnp.float32), nearest_level)(denoise, start, KEY, trajectory=3)
    np.testing.assert_allclose(found.x, np.tile(point, (4, 1)), atol=1e-6)
    assert found.trajectory is not None
    assert found.trajectory.shape == (3, 4, 3)
    away = np.asarray(found.trajectory[-1]) - np.asarray(found.x)
    assert 0.1 * np.exp(-6.65) < np.abs(away).mean() < 3 * np.exp(-6.65)


@pytest.mark.parametrize("low", [-4.0, -13.3])
def test_the_decoder_gets_what_is_left_over_alpha(low: float) -> None:
    gamma = jnp.array([low, 0.0, 5.0])
    seen = along_gamma(gamma, lambda x: x)(lambda x, level: Prediction(0 * x, x), jnp.ones((2, 1)), KEY)
    walk = march(table_of_gamma(gamma))(lambda x, level: Prediction(0 * x, x), jnp.ones((2, 1)), KEY)
    np.testing.assert_allclose(seen.x, walk.x * np.sqrt(1 + np.exp(low)), rtol=1e-5)
