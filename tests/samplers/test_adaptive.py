"""The adaptive solver against scipy's RK45, and against solutions that are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture
from scipy import integrate

from jaxgen import samplers
from jaxgen.diffusion import (
    Prediction,
    expand,
    sub_variance_preserving,
    time_is_sigma,
    variance_exploding,
    variance_preserving,
)
from jaxgen.errors import InputError
from jaxgen.samplers.adaptive import solve

KEY = jax.random.key(0)
GAUSSIAN, MIXTURE = Mixture((0.7,), 0.4), Mixture((-1.0, 0.5, 2.0), 0.2)
SCHEDULES = {
    "vp": variance_preserving(),
    "sub-vp": sub_variance_preserving(),
    "ve": variance_exploding()._replace(start=1e-5),
    "sigma": time_is_sigma(0.01, 5.0),
}


def start_of(schedule: Any, n: int = 32) -> np.ndarray:
    return np.float32(np.random.default_rng(0).normal(size=(n, 2)) * float(schedule.sigma(jnp.float32(schedule.end))))


def run(schedule: Any, law: Any, x: Any, **options: Any) -> Any:
    trajectory = options.pop("trajectory", 0)
    sampler = samplers.dopri5(schedule, **options)
    return jax.jit(lambda x: sampler(law.denoise, x, KEY, trajectory=trajectory))(jnp.asarray(x))


@pytest.mark.parametrize("name", SCHEDULES)
def test_of_a_gaussian_the_quantile_stays(name: str) -> None:
    schedule, law = SCHEDULES[name], GAUSSIAN
    x = start_of(schedule)
    alpha, sigma = (
        [float(f(jnp.float32(t))) for t in (schedule.end, schedule.start)] for f in (schedule.alpha, schedule.sigma)
    )
    std = np.hypot(np.array(alpha) * law.std, sigma)
    truth = alpha[1] * 0.7 + (x - alpha[0] * 0.7) * std[1] / std[0]
    np.testing.assert_allclose(run(schedule, law, x, denoise_last=False).x, truth, atol=1e-3)
    denoised = 0.7 + alpha[1] * 0.4**2 / std[1] ** 2 * (truth - alpha[1] * 0.7)
    found = run(schedule, law, x, trajectory=5)
    np.testing.assert_allclose(found.x, denoised, atol=1e-3)
    np.testing.assert_array_equal(found.trajectory[0], x)
    np.testing.assert_array_equal(found.trajectory[-1], found.x)
    assert found.trajectory.shape == (5, 32, 2)


def test_the_solution_for_a_mixture_is_scipys_by_the_papers_formula() -> None:
    def slope(t: float, x: np.ndarray) -> np.ndarray:
        # f x - g^2 / 2 score (Song et al. 2021, equation 13), of the authors' VPSDE.
        beta = 0.1 + t * (20 - 0.1)
        alpha = np.exp(-0.25 * t**2 * 19.9 - 0.05 * t)
        variance = alpha**2 * MIXTURE.std**2 + 1 - alpha**2
        distance = x[:, None] - alpha * np.array(MIXTURE.means)
        shares = np.exp(-(distance**2) / (2 * variance))
        score = -(shares * distance / variance).sum(1) / shares.sum(1)
        return -0.5 * beta * x - 0.5 * beta * score

    x = start_of(SCHEDULES["vp"])
    truth = integrate.solve_ivp(slope, (1.0, 1e-3), x.ravel(), method="RK45", rtol=1e-8, atol=1e-8).y[:, -1]
    errors = {}
    for tolerance in (1e-3, 1e-5):
        found = run(SCHEDULES["vp"], MIXTURE, x, rtol=tolerance, atol=tolerance, denoise_last=False).x
        errors[tolerance] = np.abs(np.asarray(found).ravel() - truth).max()
    assert errors[1e-5] < 1e-3
    assert errors[1e-5] < 0.3 * errors[1e-3]


def test_no_solution_depends_on_the_others_of_its_batch() -> None:
    x = start_of(SCHEDULES["vp"])
    other = x.copy()
    other[1:] = 0.0
    options: Any = {"rtol": 1e-2, "atol": 1e-2}
    np.testing.assert_array_equal(*(run(SCHEDULES["vp"], MIXTURE, a, **options).x[0] for a in (x, other)))


def test_no_slope_is_asked_for_outside_of_the_times() -> None:
    """The integrator steps over the last time, where a schedule may have no noise and no number."""
    slope = lambda y, t: jnp.where((t >= 0.5) & (t <= 1.0), jnp.cos(t) * jnp.ones_like(y), jnp.nan)
    for times in ([0.5, 1.0], [1.0, 0.7, 0.5]):
        found = solve(slope, jnp.zeros((2, 1)), times)
        np.testing.assert_allclose(
            found[:, :, 0], np.broadcast_to(np.sin(times) - np.sin(times[0]), (2, len(times))), atol=1e-5
        )


def test_a_slope_that_is_not_finite_is_seen_in_the_solution() -> None:
    nothing = lambda x, level: Prediction(x * jnp.nan, x * jnp.nan)
    assert np.isnan(samplers.dopri5(SCHEDULES["vp"])(nothing, jnp.ones((2, 3)), KEY).x).all()


def test_times_run_one_way() -> None:
    for times in ([0.0], [0.0, 1.0, 0.5]):
        with pytest.raises(InputError, match="ascend or descend"):
            solve(lambda y, t: y, jnp.ones((1, 1)), times)
    with pytest.raises(ValueError, match="two states"):
        samplers.dopri5(SCHEDULES["vp"])(
            lambda x, level: Prediction(x, expand(level.sigma, x)), jnp.ones((1, 1)), KEY, trajectory=1
        )
