"""Noise schedules against their papers' formulas, written again in double precision."""

import math

import improved
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion import (
    cosine,
    discretised,
    from_betas,
    geometric,
    large_variance,
    linear,
    small_variance,
    spaced,
    subsequence,
    variance_exploding,
    variance_preserving,
    variance_preserving_cosine,
)


def test_linear_is_ho_et_als() -> None:
    schedule = linear(1000)
    betas = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = [math.prod(1 - betas[:t]) for t in (0, 1, 10, 500, 1000)]
    np.testing.assert_allclose(schedule.alpha[[0, 1, 10, 500, 1000]] ** 2, alpha_bar, rtol=1e-10)
    np.testing.assert_allclose(schedule.sigma[[0, 1, 10, 500, 1000]] ** 2, 1 - np.array(alpha_bar), rtol=1e-9)
    np.testing.assert_allclose(schedule.beta[1:], betas, rtol=1e-9)
    assert schedule.beta[0] == 0
    np.testing.assert_array_equal(schedule.time, np.arange(1001))


def test_posterior_is_the_papers_with_the_erratum() -> None:
    schedule = linear(50)
    b, abar = schedule.beta, np.cumprod(1 - schedule.beta)
    t = np.arange(2, 51)
    np.testing.assert_allclose(schedule.posterior_x0[t], np.sqrt(abar[t - 1]) * b[t] / (1 - abar[t]), rtol=1e-9)
    np.testing.assert_allclose(schedule.posterior_xt[t], np.sqrt(1 - b[t]) * (1 - abar[t - 1]) / (1 - abar[t]), rtol=1e-9)
    np.testing.assert_allclose(schedule.posterior_variance[t], (1 - abar[t - 1]) / (1 - abar[t]) * b[t], rtol=1e-9)
    assert (schedule.posterior_x0[1], schedule.posterior_xt[1], schedule.posterior_variance[1]) == (1, 0, 0)


def test_posterior_is_bayes_rule_in_one_dimension() -> None:
    # q(x_s | x_t, x_0) by multiplying densities on a grid, for a chain whose variance is not preserved either.
    for schedule in (from_betas([0.1, 0.3, 0.2]), geometric(3, smallest=0.5, largest=2.0)):
        t, x0, xt = 3, 0.7, -0.4
        grid = np.linspace(-12, 12, 200_001)
        log = -((grid - schedule.alpha[t - 1] * x0) ** 2) / (2 * schedule.sigma[t - 1] ** 2)
        log -= (xt - schedule.scale[t] * grid) ** 2 / (2 * schedule.beta[t])
        p = np.exp(log - log.max())
        p /= p.sum()
        mean = (p * grid).sum()
        np.testing.assert_allclose(schedule.posterior_x0[t] * x0 + schedule.posterior_xt[t] * xt, mean, rtol=1e-6)
        np.testing.assert_allclose(schedule.posterior_variance[t], (p * (grid - mean) ** 2).sum(), rtol=1e-6)


def test_cosine_is_nichol_and_dhariwals() -> None:
    schedule = cosine(1000)
    t = np.arange(0, 990, 37)
    f = [math.cos((s / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for s in t]
    np.testing.assert_allclose(schedule.alpha[t] ** 2, np.array(f) / math.cos(0.008 / 1.008 * math.pi / 2) ** 2, rtol=1e-9)
    assert schedule.beta.max() == pytest.approx(0.999)
    assert schedule.beta[1000] == pytest.approx(0.999)
    assert (schedule.alpha[1:] > 0).all()


def test_geometric_is_the_data_with_noise_in_a_fixed_ratio() -> None:
    schedule = geometric(10, smallest=0.01, largest=1.0)
    np.testing.assert_array_equal(schedule.alpha, 1)
    assert (schedule.sigma[0], schedule.sigma[1], schedule.sigma[10]) == (0, 0.01, 1)
    np.testing.assert_allclose(schedule.sigma[2:] / schedule.sigma[1:-1], 100 ** (1 / 9), rtol=1e-9)
    np.testing.assert_allclose(schedule.time[1:], np.log(schedule.sigma[1:]))
    np.testing.assert_allclose(schedule.beta[1:], np.diff(schedule.sigma**2), rtol=1e-9)


@pytest.mark.parametrize("make", [linear, cosine])
@pytest.mark.parametrize("steps", [1, 2, 100, 4000])
def test_chains_are_variance_preserving_and_only_add_noise(make, steps: int) -> None:
    schedule = make(steps)
    np.testing.assert_allclose(schedule.alpha**2 + schedule.sigma**2, 1, rtol=1e-12)
    assert (np.diff(schedule.log_snr) < 0).all()
    assert np.isinf(schedule.log_snr[0])
    small, large = small_variance(schedule), large_variance(schedule)
    assert (small[1:] > 0).all()
    assert (small[2:] < large[2:]).all()


def test_shorter_linear_chains_end_in_as_much_noise() -> None:
    # ln of alpha_bar at the end is about -10 whatever T, as for the paper's T.
    ends = [2 * math.log(linear(steps).alpha[-1]) for steps in (200, 1000, 4000)]
    np.testing.assert_allclose(ends, ends[1], rtol=0.05)


def test_subsequence_keeps_marginals_and_is_a_chain_of_its_own() -> None:
    long = linear(100)
    short = subsequence(long, [10, 40, 100])
    np.testing.assert_array_equal(short.sigma, long.sigma[[0, 10, 40, 100]])
    np.testing.assert_array_equal(short.time, [0, 10, 40, 100])
    # Nichol & Dhariwal 2021, equation 19.
    np.testing.assert_allclose(short.beta[1:], 1 - (short.alpha[1:] / short.alpha[:-1]) ** 2, rtol=1e-9)
    np.testing.assert_array_equal(spaced(long, 100).beta, long.beta)
    with pytest.raises(ValueError, match="ascend"):
        subsequence(long, [40, 10])
    with pytest.raises(ValueError, match="ascend"):
        subsequence(long, [10, 101])
    with pytest.raises(ValueError, match="no subsequence"):
        spaced(long, 101)


@pytest.mark.parametrize(("steps", "count"), [(1000, 25), (1000, 100), (4000, 50), (4000, 4000), (200, 2)])
def test_with_the_first_step_the_spacing_is_that_of_improved_ddpm(steps: int, count: int) -> None:
    np.testing.assert_array_equal(spaced(linear(steps), count, first=True).time[1:], improved.space_timesteps(steps, count))
    assert spaced(linear(steps), 1, first=True).time.tolist() == [0, steps]


def test_betas_outside_of_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        from_betas([0.1, 1.0])


def test_continuous_linear_schedule_is_the_limit_of_the_chain() -> None:
    # Song et al. 2021, appendix B: beta(t / T) = T beta_t.
    limit, t = variance_preserving(0.1, 20.0), np.array([100, 5000, 20_000])
    chain = linear(20_000)
    np.testing.assert_allclose(limit.alpha(jnp.array(t / 20_000, jnp.float32)), chain.alpha[t], rtol=3e-3)
    np.testing.assert_allclose(limit.sigma(jnp.array(t / 20_000, jnp.float32)), chain.sigma[t], rtol=3e-3)


@pytest.mark.parametrize("schedule", [variance_preserving(), variance_preserving_cosine(), variance_exploding()])
def test_continuous_schedules(schedule) -> None:
    t = jnp.linspace(0.01, 1, 50)
    level = schedule.level(t)
    expected = 2 * np.log(np.asarray(level.alpha, np.float64) / np.asarray(level.sigma, np.float64))
    np.testing.assert_allclose(schedule.log_snr(t), expected, rtol=1e-4, atol=1e-5)
    assert (np.diff(expected) < 0).all()
    drawn = schedule.draw(jax.random.key(0), 10_000)
    assert drawn.min() >= schedule.start
    assert drawn.max() <= 1
    assert abs(drawn.mean() - (1 + schedule.start) / 2) < 0.02
    chain = discretised(schedule, [0.25, 0.5, 1.0])
    np.testing.assert_allclose(chain.sigma[1:], schedule.sigma(jnp.array([0.25, 0.5, 1.0])), rtol=1e-5)
    assert chain.alpha.dtype == np.float64
    assert (chain.alpha[0], chain.sigma[0], chain.time[2]) == (1, 0, 0.5)
    assert (chain.beta[1:] > 0).all()


def test_steps_are_drawn_uniformly_from_one_to_t() -> None:
    drawn = linear(4).draw(jax.random.key(0), 40_000)
    counts = np.bincount(drawn, minlength=5)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:], 10_000, rtol=0.05)


@pytest.mark.parametrize("make", [linear, cosine])
@pytest.mark.parametrize("steps", [2, 10, 1000])
def test_reverse_variances_are_those_of_the_authors_code(make, steps: int) -> None:
    """Ho et al. 2020, diffusion_utils_2.py: what `fixedsmall` and `fixedlarge` take the logarithm of, counted from 0."""
    schedule = make(steps)
    betas = schedule.beta[1:]
    cumulative = np.cumprod(1 - betas)
    posterior_variance = betas * (1 - np.append(1.0, cumulative[:-1])) / (1 - cumulative)
    fixedsmall = np.append(posterior_variance[1], posterior_variance[1:])
    fixedlarge = np.append(posterior_variance[1], betas[1:])
    np.testing.assert_allclose(small_variance(schedule)[1:], fixedsmall, rtol=1e-6)
    np.testing.assert_allclose(large_variance(schedule)[1:], fixedlarge, rtol=1e-6)
    assert small_variance(schedule)[0] == large_variance(schedule)[0] == 0


def test_a_chain_of_one_step_has_one_variance() -> None:
    for variance in (small_variance, large_variance):
        np.testing.assert_array_equal(variance(linear(1)), linear(1).beta)
