"""Parameterisations from two numbers, against the formulas of their papers."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.diffusion import (
    EPSILON,
    VE,
    VELOCITY,
    Level,
    Parameterisation,
    V,
    denoiser,
    diffuse,
    edm,
    expand,
    linear,
    linear_path,
    of_target,
    time_is_sigma,
    timed,
    variance_preserving,
)

X, EPS = normal(4, 2, 3), normal(4, 2, 3, seed=1)
VP = variance_preserving().level(jnp.array([0.02, 0.3, 0.6, 0.9]))
SIGMAS = time_is_sigma().level(jnp.array([0.05, 0.5, 3.0, 20.0]))


@pytest.mark.parametrize(
    "level", [VP, SIGMAS, linear_path().level(jnp.array([0.01, 0.3, 0.6, 0.99]))], ids=["vp", "sigma", "flow"]
)
@pytest.mark.parametrize("meaning", [VELOCITY, VE, edm(0.5), edm(2.0)], ids=["velocity", "ve", "edm", "edm-2"])
def test_predictions_are_consistent_whatever_the_output(meaning: Parameterisation, level: Level) -> None:
    xt = diffuse(X, EPS, level)
    out = meaning.target(X, EPS, level)
    scale = float(jnp.max(level.sigma / level.alpha))
    np.testing.assert_allclose(meaning.x0(out, xt, level), X, atol=1e-5 * max(scale, 10))
    np.testing.assert_allclose(meaning.eps(out, xt, level), EPS, atol=2e-4)
    x0, eps = meaning.x0(out + 0.3, xt, level), meaning.eps(out + 0.3, xt, level)
    np.testing.assert_allclose(diffuse(x0, eps, level), xt, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("std", [0.5, 1.0, 1.7])
def test_edm_is_the_papers_with_its_four_factors(std: float) -> None:
    """Karras et al. 2022, table 1: D = c_skip x + c_out F(c_in x, c_noise)."""
    sigma = np.asarray(SIGMAS.sigma, np.float64)[:, None, None]
    skip, into = std**2 / (sigma**2 + std**2), 1 / np.sqrt(sigma**2 + std**2)
    out_scale = sigma * std / np.sqrt(sigma**2 + std**2)
    seen: list[Any] = []

    def network(x: Any, time: Any) -> Any:
        seen.append((x, time))
        return jnp.sin(x) + time[:, None, None]

    xt = diffuse(X, EPS, SIGMAS)
    found = denoiser(network, edm(std))(xt, SIGMAS)
    ((given, time),) = seen
    np.testing.assert_allclose(given, into * xt, rtol=1e-5)
    np.testing.assert_allclose(time, np.log(sigma[:, 0, 0]) / 4, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.x0, skip * xt + out_scale * network(given, time), rtol=1e-4, atol=1e-4)


def test_edm_has_input_and_target_of_unit_variance_at_every_level() -> None:
    data, noise = 0.5 * normal(200_000, 1), normal(200_000, 1, seed=2)
    for level in (SIGMAS, VP):
        for i in range(4):
            at = Level(*(a[i] for a in level))
            np.testing.assert_allclose(edm(0.5).target(data, noise, at).std(), 1, atol=0.01)
            np.testing.assert_allclose(edm(0.5).given(diffuse(data, noise, at), at)[0].std(), 1, atol=0.01)


def test_edm_of_unit_data_is_v_with_its_sign_turned_where_the_variance_is_preserved() -> None:
    np.testing.assert_allclose(edm(1.0).target(X, EPS, VP), -V.target(X, EPS, VP), atol=1e-6)
    np.testing.assert_allclose(edm(1.0).input(VP), 1, atol=1e-6)


def test_ve_is_the_authors_preconditioning() -> None:
    """Their VEPrecond: c_skip = 1, c_out = sigma, c_in = 1, c_noise = log(sigma / 2)."""
    xt, sigma = diffuse(X, EPS, SIGMAS), SIGMAS.sigma[:, None, None]
    out = normal(4, 2, 3, seed=5)
    np.testing.assert_allclose(VE.x0(out, xt, SIGMAS), xt + sigma * out, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(VE.time(SIGMAS), np.log(SIGMAS.sigma / 2), rtol=1e-5, atol=1e-6)


def test_the_velocity_of_the_linear_path_is_its_derivative_and_defined_at_its_ends() -> None:
    path = linear_path()
    one, other = (diffuse(X, EPS, path.level(jnp.full(4, t))) for t in (0.25, 0.75))
    level = path.level(jnp.array([0.0, 0.3, 0.9, 1.0]))
    out = VELOCITY.target(X, EPS, level)
    np.testing.assert_allclose(out, (other - one) / 0.5, atol=1e-5)
    xt = diffuse(X, EPS, level)
    np.testing.assert_allclose(VELOCITY.x0(out, xt, level), X, atol=1e-5)
    np.testing.assert_allclose(VELOCITY.eps(out, xt, level), EPS, atol=1e-5)
    assert not np.isfinite(EPSILON.x0(EPS, xt, level)[3]).any(), "nothing is left of the data"


def test_a_network_may_be_told_another_time_and_given_another_input() -> None:
    seen = []

    def network(x: Any, time: Any) -> Any:
        seen.append((x, time))
        return x

    level = linear(1000).level(jnp.array([1, 500, 700, 1000]))
    half = of_target(lambda level: 0 * level.alpha, lambda level: 1 + 0 * level.alpha, input=lambda level: level.sigma)
    other = timed(half, lambda level: level.time / 1000)
    denoiser(network, other)(X, level)
    np.testing.assert_allclose(seen[0][1], [0.001, 0.5, 0.7, 1.0], rtol=1e-6)
    np.testing.assert_allclose(seen[0][0], expand(level.sigma, X) * X, rtol=1e-6)
