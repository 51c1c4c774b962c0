"""Weights in the space of an error against that error itself, and the papers' formulas."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.diffusion import (
    EPSILON,
    SCORE,
    VE,
    VELOCITY,
    X0,
    V,
    diffuse,
    edm,
    linear,
    linear_path,
    time_is_sigma,
    variance_preserving,
)
from jaxgen.errors import InputError
from jaxgen.models.diffusion import MLP
from jaxgen.objectives import denoising_score_matching, on_data, on_noise, uniform, weights

MEANINGS = {"epsilon": EPSILON, "x0": X0, "v": V, "score": SCORE, "velocity": VELOCITY, "edm": edm(0.5), "ve": VE}
T = jnp.array([0.05, 0.3, 0.6, 0.9])
LEVELS = {
    "vp": variance_preserving().level(T),
    "sigma": time_is_sigma().level(20 * T),
    "flow": linear_path().level(T),
}
X, EPS = normal(4, 7), normal(4, 7, seed=1)


@pytest.mark.parametrize("schedule", LEVELS)
@pytest.mark.parametrize("name", MEANINGS)
def test_a_weight_of_the_noise_or_of_the_data_weighs_that_error(name: str, schedule: str) -> None:
    meaning, level = MEANINGS[name], LEVELS[schedule]
    xt = diffuse(X, EPS, level)
    target = meaning.target(X, EPS, level)
    out = target + normal(4, 7, seed=2)
    weight = lambda level: 1 + level.sigma
    error = lambda a, b: ((a - b) ** 2).sum(1)
    for convert, predicted, truth in ((on_noise, meaning.eps, EPS), (on_data, meaning.x0, X)):
        found = convert(weight, meaning)(level) * error(out, target)
        np.testing.assert_allclose(found, weight(level) * error(predicted(out, xt, level), truth), rtol=2e-3)


@pytest.mark.parametrize("std", [0.5, 1.3])
def test_edms_weight_is_one_on_its_output(std: float) -> None:
    for level in LEVELS.values():
        np.testing.assert_allclose(on_data(weights.edm(std), edm(std))(level), 1, rtol=1e-4)
    sigma = LEVELS["sigma"].sigma
    np.testing.assert_allclose(weights.edm(std)(LEVELS["sigma"]), (sigma**2 + std**2) / (sigma * std) ** 2, rtol=1e-5)


def test_p2_is_the_authors_line() -> None:
    """P2-weighting, gaussian_diffusion.py: 1 / (k + snr)^gamma with snr = 1 / (1 - alphas_cumprod) - 1."""
    chain = linear(1000)
    snr = 1 / (1 - np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))) - 1
    steps = np.array([1, 10, 400, 999])
    for k, gamma in ((1.0, 1.0), (1.0, 0.5), (0.3, 2.0)):
        found = weights.p2(k, gamma)(chain.level(jnp.asarray(steps)))
        np.testing.assert_allclose(found, (k + snr[steps - 1]) ** -gamma, rtol=1e-4)
    np.testing.assert_allclose(weights.p2(power=0.0)(chain.level(5)), 1)


def test_min_snr_is_the_papers_in_every_space() -> None:
    """Hang et al. 2023: min(SNR, 5) on the data, over SNR on the noise, over SNR + 1 on v."""
    level = LEVELS["vp"]
    snr = np.asarray((level.alpha / level.sigma) ** 2)
    assert snr.max() > 5 > snr.min()
    for meaning, expected in (
        (X0, np.minimum(snr, 5)),
        (EPSILON, np.minimum(snr, 5) / snr),
        (V, np.minimum(snr, 5) / (snr + 1)),
    ):
        np.testing.assert_allclose(on_noise(weights.min_snr(5.0), meaning)(level), expected, rtol=1e-4)


@pytest.mark.parametrize("schedule", [variance_preserving(), time_is_sigma(), linear_path()], ids=["vp", "sigma", "flow"])
def test_the_likelihoods_weight_is_the_rate_of_the_signal(schedule: Any) -> None:
    level = schedule.level(T)
    rate = -jax.vmap(jax.grad(schedule.log_snr))(T)
    np.testing.assert_allclose(weights.likelihood(schedule)(level), rate, rtol=1e-4)


def test_of_the_noise_itself_nothing_changes() -> None:
    np.testing.assert_array_equal(on_noise(uniform, EPSILON)(LEVELS["vp"]), 1)


@pytest.mark.parametrize("meaning", [EPSILON, X0, SCORE, VE])
def test_ends_at_which_an_output_does_not_say_all_are_refused(meaning: Any) -> None:
    with pytest.raises(InputError, match="does not say both"):
        denoising_score_matching(MLP(4, 1), linear_path(), meaning)
    denoising_score_matching(MLP(4, 1), linear_path(start=1e-3, end=0.999), meaning)
    denoising_score_matching(MLP(4, 1), linear_path(), VELOCITY)
