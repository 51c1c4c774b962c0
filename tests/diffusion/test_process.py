"""The forward process and the parameterisations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.diffusion import EPSILON, SCORE, X0, Level, V, cosine, denoiser, diffuse, forward, geometric, linear, posterior

X, EPS = normal(4, 2, 3), normal(4, 2, 3, seed=1)
STEPS = jnp.array([1, 3, 7, 10])


def test_a_step_each_scales_each_example() -> None:
    schedule = linear(10)
    xt = diffuse(X, EPS, schedule.level(STEPS))
    for i, t in enumerate(STEPS):
        np.testing.assert_allclose(xt[i], schedule.alpha[t] * X[i] + schedule.sigma[t] * EPS[i], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(diffuse(X, EPS, schedule.level(0)), X)
    mean, variance = posterior(schedule, STEPS, X, xt)
    for i, t in enumerate(STEPS):
        expected = schedule.posterior_x0[t] * X[i] + schedule.posterior_xt[t] * xt[i]
        np.testing.assert_allclose(mean[i], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, schedule.posterior_variance[STEPS], rtol=1e-6)


@pytest.mark.parametrize("schedule", [linear(20), geometric(5)])
def test_a_path_has_the_marginals_of_the_closed_form(schedule) -> None:
    path = jax.jit(lambda x, key: forward(schedule, x, key))(jnp.full((20_000, 1), 2.0), jax.random.key(0))
    assert path.shape == (schedule.steps + 1, 20_000, 1)
    np.testing.assert_allclose(path.mean((1, 2)), 2 * schedule.alpha, atol=0.03)
    np.testing.assert_allclose(path.std((1, 2)), schedule.sigma, atol=0.02)
    # Neighbours share their noise: the covariance of x_s and x_t is alpha_{t|s} sigma_s^2.
    s, t = schedule.steps - 1, schedule.steps
    covariance = ((path[s] - path[s].mean()) * (path[t] - path[t].mean())).mean()
    np.testing.assert_allclose(covariance, schedule.scale[t] * schedule.sigma[s] ** 2, atol=0.03)


@pytest.mark.parametrize("meaning", [EPSILON, X0, V, SCORE], ids=["epsilon", "x0", "v", "score"])
@pytest.mark.parametrize("schedule", [cosine(10), geometric(10)], ids=["cosine", "geometric"])
def test_every_parameterisation_says_the_same(meaning, schedule) -> None:
    level = schedule.level(jnp.array([1, 3, 7, 9]))  # of the cosine's last nothing is left to predict from
    xt = diffuse(X, EPS, level)
    out = meaning.target(X, EPS, level)
    np.testing.assert_allclose(meaning.x0(out, xt, level), X, atol=2e-4)
    np.testing.assert_allclose(meaning.eps(out, xt, level), EPS, atol=2e-4)
    # Nor does it take an output that is right for x0 and eps to agree with x_t.
    wrong = out + 0.1
    x0, eps = meaning.x0(wrong, xt, level), meaning.eps(wrong, xt, level)
    np.testing.assert_allclose(diffuse(x0, eps, level), xt, atol=1e-3)


def test_targets_are_the_papers() -> None:
    level = Level(jnp.array(0.0), jnp.array(0.8), jnp.array(0.6))
    np.testing.assert_allclose(V.target(X, EPS, level), 0.8 * EPS - 0.6 * X, rtol=1e-6)
    np.testing.assert_array_equal(EPSILON.target(X, EPS, level), EPS)
    np.testing.assert_array_equal(X0.target(X, EPS, level), X)
    # The score of N(alpha x0, sigma^2) at x_t, by differentiation.
    xt = diffuse(X, EPS, level)
    score = jax.grad(lambda x: -((x - 0.8 * X) ** 2 / (2 * 0.36)).sum())(xt)
    np.testing.assert_allclose(SCORE.target(X, EPS, level), score, rtol=1e-4, atol=1e-5)


def test_clipping_brings_the_data_into_range_and_keeps_the_prediction_consistent() -> None:
    level = linear(10).level(5)
    times = []

    def network(x, time):
        times.append(time)
        return 3 * jnp.ones_like(x)

    x0, eps, _ = denoiser(network, EPSILON, clip=(-0.5, 0.5))(X, level)
    assert x0.min() >= -0.5
    assert x0.max() <= 0.5
    assert jnp.abs(x0).max() == 0.5
    np.testing.assert_allclose(diffuse(x0, eps, level), X, atol=1e-5)
    np.testing.assert_array_equal(times[0], jnp.full(4, 5.0))
    free = denoiser(network, EPSILON)(X, level)
    assert jnp.abs(free.x0).max() > 0.5
