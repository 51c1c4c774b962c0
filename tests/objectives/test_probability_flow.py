"""The density of the probability-flow ODE against exact ones: a solution keeps the quantile, so that its end is known."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture, UnequalMixture
from scipy import interpolate, stats

from jaxgen import nn
from jaxgen.diffusion import (
    EPSILON,
    Prediction,
    denoiser,
    expand,
    sub_variance_preserving,
    time_is_sigma,
    variance_exploding,
    variance_preserving,
)
from jaxgen.objectives import bits_of_levels, flow_log_prob

FIRST = 1e-5
SCHEDULES = {
    "vp": variance_preserving(start=FIRST),
    "sub-vp": sub_variance_preserving(start=FIRST),
    "ve": variance_exploding()._replace(start=FIRST),
    "sigma": time_is_sigma(0.01, 40.0),
}
LAW = UnequalMixture((0.3, 0.7), (-0.6, 0.5), (0.15, 0.25))
KEY = jax.random.key(1)


def ends(schedule: Any) -> Any:
    """Alpha and sigma at the start and at the end."""
    return [[float(of(jnp.float32(t))) for of in (schedule.alpha, schedule.sigma)] for t in (schedule.start, schedule.end)]


def noisy(law: UnequalMixture, x: np.ndarray, alpha: float, sigma: float, of: str) -> np.ndarray:
    """The density ("pdf") or the distribution function ("cdf") of noisy data."""
    return sum(w * getattr(stats.norm, of)(x, alpha * m, np.hypot(alpha * s, sigma)) for w, m, s in zip(*law, strict=True))


def exact(law: UnequalMixture, schedule: Any, x: np.ndarray) -> np.ndarray:
    """log N(x_T; 0, sigma_T^2) + log p_0(x_0) - log p_T(x_T), where x_T has x_0's quantile."""
    first, last = ends(schedule)
    grid = np.linspace(-7, 7, 200_001) * last[1]
    end = interpolate.interp1d(noisy(law, grid, *last, "cdf"), grid)(noisy(law, x, *first, "cdf"))
    prior = stats.norm.logpdf(end, 0, last[1]) - np.log(noisy(law, end, *last, "pdf"))
    return np.log(noisy(law, x, *first, "pdf")) + prior


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_density_of_a_mixture_is_exact(name: str) -> None:
    schedule = SCHEDULES[name]
    x = np.linspace(-1.0, 1.1, 43)
    found = jax.jit(lambda x: flow_log_prob(LAW.denoise, schedule, x, None))(jnp.float32(x)[:, None])
    np.testing.assert_allclose(found, exact(LAW, schedule, x), atol=1e-3)
    np.testing.assert_allclose(found, np.log(noisy(LAW, x, *ends(schedule)[0], "pdf")), atol=0.03)  # the prior is close


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_with_the_noise_of_the_probes_the_mean_over_them_is_the_density(name: str) -> None:
    """Of a Gaussian with correlations: x_T = L x_0 and the density follow from the eigenvalues of its covariance."""
    schedule = SCHEDULES[name]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    spread = np.array([0.05, 0.4, 1.2])

    def denoise(x: Any, level: Any) -> Prediction:
        at = x @ jnp.float32(turn)
        variance = expand(level.alpha, x) ** 2 * spread + expand(level.sigma, x) ** 2
        x0, eps = (at * of / variance @ jnp.float32(turn.T) for of in (level.alpha * spread, level.sigma))
        return Prediction(x0, eps)

    first, last = ends(schedule)
    variances = [a**2 * spread + s**2 for a, s in (first, last)]
    x = np.random.default_rng(1).normal(size=(4, 3)) * 0.3
    end = (x @ turn) * np.sqrt(variances[1] / variances[0])
    truth = stats.norm.logpdf(end, 0, last[1]).sum(1) + 0.5 * np.log(variances[1] / variances[0]).sum()

    def found(key: Any, probes: int = 1) -> np.ndarray:
        return np.asarray(jax.jit(lambda x, key: flow_log_prob(denoise, schedule, x, key, probes=probes))(jnp.float32(x), key))

    np.testing.assert_allclose(found(None), truth, atol=2e-3)
    one, many = (
        np.asarray(jax.jit(jax.vmap(lambda k, p=p: flow_log_prob(denoise, schedule, jnp.float32(x), k, probes=p)))(keys))
        for p, keys in ((1, jax.random.split(KEY, 100)), (16, jax.random.split(KEY, 25)))
    )
    for draws in (one, many):
        assert (np.abs(draws.mean(0) - truth) < 4 * draws.std(0) / np.sqrt(len(draws)) + 2e-3).all()
    assert one.std(0).min() > 0.05
    assert many.std(0).max() < 0.6 * one.std(0).min()


@pytest.mark.slow
def test_noise_belongs_to_the_example_and_so_do_tolerances() -> None:
    schedule = SCHEDULES["vp"]
    law = Mixture((-0.5, 0.6), 0.2)
    denoise = lambda x, level: law.denoise(x + 0.1 * jnp.sum(x, axis=1, keepdims=True), level)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    keys = jax.random.split(KEY, 5)
    options: Any = {"rtol": 1e-3, "atol": 1e-3}
    together = flow_log_prob(denoise, schedule, x, keys, **options)
    alone = flow_log_prob(denoise, schedule, x[2:3], keys[2:3], **options)
    np.testing.assert_allclose(together[2], alone[0], rtol=1e-5)


def test_networks_of_convolutions_have_a_density() -> None:
    """On a CPU they have no forward mode. Their kernel is of one pixel: each pixel has a density of its own."""
    layer = nn.Conv(1, (1, 1), kernel_init=lambda *_: jnp.full((1, 1, 1, 1), 0.8))
    params = layer.init(KEY, jnp.zeros((1, 2, 2, 1)))
    schedule = SCHEDULES["vp"]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 2, 1)), jnp.float32)
    of_images = flow_log_prob(denoiser(lambda x, time: layer.apply(params, x), EPSILON), schedule, x, KEY)
    of_pixels = flow_log_prob(denoiser(lambda x, time: 0.8 * x, EPSILON), schedule, x.reshape(12, 1), None)
    np.testing.assert_allclose(of_images, of_pixels.reshape(3, 4).sum(1), atol=2e-3)


@pytest.mark.parametrize(("low", "high", "bits"), [(-1.0, 1.0, 8), (0.0, 1.0, 8), (-1.0, 1.0, 4), (0.0, 3.0, 1)])
def test_bits_are_those_of_the_mass_of_a_level(low: float, high: float, bits: int) -> None:
    """Where the density is constant within each cell."""
    mass = np.random.default_rng(0).dirichlet(np.ones(2**bits), size=6)
    levels = [3, 5, 0, 1, 2**bits - 1, 2**bits // 2] if bits > 1 else [0, 1, 0, 1, 1, 0]
    p = mass[np.arange(6), levels]
    density = p / ((high - low) / 2**bits)
    found = bits_of_levels(jnp.float32(np.log(density).reshape(2, 3).sum(1)), 3, bits=bits, width=high - low)
    np.testing.assert_allclose(found, -np.log2(p).reshape(2, 3).mean(1), rtol=1e-5)
    assert math.isclose(float(bits_of_levels(jnp.zeros(1), 5, bits=8, width=2.0)[0]), 7.0), "the authors' offset"
