"""Continuous schedules: their inverses, the SDEs that follow from them, grids and laws of noise."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion import (
    Continuous,
    Drawn,
    NoiseSchedule,
    discretised,
    grids,
    laws,
    linear_path,
    sub_variance_preserving,
    time_is_sigma,
    variance_exploding,
    variance_preserving,
    variance_preserving_cosine,
)
from jaxgen.errors import InputError

SCHEDULES = {
    "vp": variance_preserving(),
    "sub-vp": sub_variance_preserving(),
    "cosine": variance_preserving_cosine(),
    "ve": variance_exploding(),
    "sigma": time_is_sigma(),
    "flow": linear_path(start=1e-3, end=0.999),
}
T = np.linspace(0.03, 0.97, 30)
BETA, B = 0.1 + 19.9 * T, 0.1 * T + 9.95 * T**2


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_inverse_finds_the_time(name: str) -> None:
    schedule = SCHEDULES[name]
    assert schedule.time_of is not None
    with jax.enable_x64(True):
        times = jnp.linspace(schedule.start + 1e-6, schedule.end, 200, dtype=jnp.float64)
        found = schedule.time_of(schedule.log_snr(times) / 2)
        np.testing.assert_allclose(found, times, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "drift", "squared"),
    [
        ("vp", -BETA / 2, BETA),
        ("sub-vp", -BETA / 2, BETA * (1 - np.exp(-2 * B))),
        ("ve", 0 * T, (0.01 * 5000**T) ** 2 * 2 * math.log(5000)),
        ("sigma", 0 * T, 2 * T),
        ("flow", -1 / (1 - T), 2 * T / (1 - T)),
    ],
)
def test_the_sde_that_follows_is_the_papers(name: str, drift: np.ndarray, squared: np.ndarray) -> None:
    """Song et al. 2021, equations 9, 11 and 13; Karras et al. 2022, table 1; of the path by hand."""
    with jax.enable_x64(True):
        t = jnp.asarray(T)
        np.testing.assert_allclose(SCHEDULES[name].drift(t), drift, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(SCHEDULES[name].squared_diffusion(t), squared, rtol=1e-9)


def test_sub_vp_has_less_noise_than_vp() -> None:
    t = jnp.asarray(T, jnp.float32)
    np.testing.assert_allclose(SCHEDULES["sub-vp"].sigma(t), SCHEDULES["vp"].sigma(t) ** 2, rtol=1e-4)
    np.testing.assert_allclose(SCHEDULES["sub-vp"].alpha(t), SCHEDULES["vp"].alpha(t), rtol=1e-6)


def test_a_walk_by_its_sde_has_sub_vps_marginals() -> None:
    """Forward, from a point: x' = f x dt + g dw, by 2,000 short steps in numpy."""
    schedule, n = SCHEDULES["sub-vp"], 2000
    t = np.linspace(0, 1, n + 1)[:-1]
    with jax.enable_x64(True):
        f, g2 = (np.array(of(jnp.asarray(t + 0.5 / n))) for of in (schedule.drift, schedule.squared_diffusion))
    rng, x = np.random.default_rng(0), np.full(20_000, 1.5)
    for i in range(n):
        x = x + f[i] * x / n + np.sqrt(g2[i] / n) * rng.normal(size=len(x))
        if i + 1 in (500, 1000, 2000):
            level = schedule.level(jnp.float32((i + 1) / n))
            assert x.mean() == pytest.approx(1.5 * float(level.alpha), abs=0.03)
            assert x.std() == pytest.approx(float(level.sigma), rel=0.02)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("grid", [grids.even, grids.quadratic, grids.log_snr, grids.karras])
def test_grids_descend_from_the_end_to_the_start(name: str, grid) -> None:
    schedule = SCHEDULES[name]
    if name == "ve" and grid is grids.karras:
        schedule = variance_exploding(0.01, 5.0)
    times = grid(schedule, 12)
    assert times.shape == (12,)
    assert times.dtype == np.float64
    assert (times[0], times[-1]) == (pytest.approx(schedule.end), pytest.approx(schedule.start, abs=1e-12))
    assert (np.diff(times) < 0).all()
    chain = discretised(schedule, times)
    assert (np.diff(chain.log_snr[1:]) < 0).all()
    noise = (chain.sigma / chain.alpha)[1:]
    spaced = {grids.even: chain.time[1:], grids.quadratic: np.sqrt(chain.time[1:]), grids.log_snr: np.log(noise)}
    np.testing.assert_allclose(np.diff(spaced.get(grid, noise ** (1 / 7)), 2), 0, atol=1e-6)


def test_the_karras_grid_is_the_papers() -> None:
    i = np.arange(18)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(grids.karras(time_is_sigma(), 18), expected, rtol=1e-10)


def test_a_shifted_grid_is_the_papers() -> None:
    """Esser et al. 2024: the signal-to-noise ratio of the shifted time is that of the time over the square of the shift."""
    t = np.linspace(0.9, 0.1, 5)
    found = grids.shifted(t, 3.0)
    np.testing.assert_allclose((1 - found) / found, (1 - t) / t / 3)
    np.testing.assert_array_equal(grids.shifted(np.array([1.0, 0.0]), 3.0), [1, 0])


def test_grids_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="2 times or more"):
        grids.even(time_is_sigma(), 1)
    with pytest.raises(InputError, match="zero or infinite at an end"):
        grids.karras(linear_path(), 5)
    with pytest.raises(InputError, match="its inverse"):
        grids.log_snr(time_is_sigma()._replace(time_of=None), 5)
    with pytest.raises(InputError, match="ascend or descend"):
        discretised(time_is_sigma(), [1.0, 3.0, 2.0])


def test_a_chain_takes_times_either_way_and_the_data_once() -> None:
    up, down = (discretised(linear_path(), times) for times in ([0.2, 0.6, 1.0], [1.0, 0.6, 0.2, 0.0]))
    for one, other in zip(up, down, strict=True):
        np.testing.assert_allclose(one, other)
    assert (up.alpha[-1], up.sigma[-1]) == (0, 1)


def test_laws_of_noise() -> None:
    drawn = Drawn(time_is_sigma(), laws.log_normal(-1.2, 1.2))
    assert isinstance(drawn, NoiseSchedule)
    sigma = np.asarray(drawn.draw(jax.random.key(0), 40_000))
    assert np.log(sigma).mean() == pytest.approx(-1.2, abs=0.03)
    assert np.log(sigma).std() == pytest.approx(1.2, abs=0.03)
    level = drawn.level(jnp.asarray(sigma[:3]))
    np.testing.assert_array_equal(level.sigma, sigma[:3])
    np.testing.assert_array_equal(level.alpha, 1)
    t = np.asarray(Drawn(linear_path(), laws.logit_normal(0.5, 0.7)).draw(jax.random.key(0), 40_000))
    assert np.log(t / (1 - t)).mean() == pytest.approx(0.5, abs=0.02)
    assert np.log(t / (1 - t)).std() == pytest.approx(0.7, abs=0.02)
    keys = jax.random.split(jax.random.key(3), 4)
    np.testing.assert_allclose(laws.log_normal(0, 1)(keys, 4)[2:], laws.log_normal(0, 1)(keys[2:], 2), rtol=1e-6)


def test_the_end_is_drawn_up_to() -> None:
    drawn = Continuous(jnp.ones_like, lambda t: t, 2.0, 10.0).draw(jax.random.key(0), 10_000)
    assert drawn.min() >= 2
    assert drawn.max() <= 10
    assert drawn.mean() == pytest.approx(6, abs=0.1)
