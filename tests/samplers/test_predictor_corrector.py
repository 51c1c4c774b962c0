"""Predictor-corrector samplers: the authors' steps written out in numpy, and laws whose score is known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture, wasserstein
from scipy import stats

from jaxgen import samplers
from jaxgen.diffusion import Level, Prediction, discretised, large_variance, variance_exploding, variance_preserving
from jaxgen.errors import InputError
from jaxgen.samplers import tables

KEY = jax.random.key(3)
LAW = Mixture((-1.0, 0.4, 1.5), 0.25)
VP, VE = variance_preserving(), variance_exploding(0.01, 3.0)
SCHEDULES = {"vp": VP, "ve": VE}
FACTOR = 0.7


def crooked(x: Any, level: Level) -> Prediction:
    """A model whose score is far from that of any law, and depends on every number of an example."""
    eps = jnp.sin(3 * x) + FACTOR * jnp.cos(jnp.sum(x, axis=(1, 2), keepdims=True))
    return Prediction((x - level.sigma * eps) / level.alpha, eps)


def score(x: np.ndarray, sigma: float) -> np.ndarray:
    return -(np.sin(3 * x) + FACTOR * np.cos(x.sum((1, 2), keepdims=True))) / sigma


def norm(x: np.ndarray) -> np.ndarray:
    return np.sqrt((x**2).sum((1, 2), keepdims=True))


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_sampler_is_the_authors_with_norms_by_example(name: str, steps: int) -> None:
    """Their loop in numpy: `for i: x = corrector(x, t_i); x, mean = predictor(x, t_i)`, of which the last mean is returned."""
    n, snr = 4, 0.3
    chain = discretised(SCHEDULES[name], np.linspace(0.1, 1.0, n))
    x = np.random.default_rng(0).normal(size=(5, 2, 3)) * chain.sigma[-1]
    found = samplers.predictor_corrector(tables.reverse_diffusion(chain), snr=snr, steps=steps)(crooked, jnp.float32(x), KEY)
    mean = x
    for j in range(n):
        i = n - j
        sigma, ratio = chain.sigma[i], (chain.alpha[i] / chain.alpha[i - 1])
        for m in range(steps):
            z = np.asarray(jax.random.normal(jax.random.fold_in(KEY, n * (m + 1) + j), x.shape), np.float64)
            s = score(x, sigma)
            size = 2 * ratio**2 * (snr * norm(z) / norm(s)) ** 2
            x = x + size * s + np.sqrt(2 * size) * z
        # sde_lib.py: f = (sqrt(1 - beta) - 1) x and G = sqrt(beta), or 0 and the root of the difference of variances.
        f, g2 = (ratio - 1) * x, sigma**2 - (ratio * chain.sigma[i - 1]) ** 2
        mean = x - (f - g2 * score(x, sigma))
        z = np.asarray(jax.random.normal(jax.random.fold_in(KEY, j), x.shape), np.float64)
        x = mean + np.sqrt(g2) * z
    np.testing.assert_allclose(found.x, mean, rtol=2e-3, atol=2e-3 * np.abs(mean).max())


def test_discretised_betas_of_the_paper_differ_little_from_exact_steps() -> None:
    """sde_lib.py, VPSDE: beta_i from beta_0 / N to beta_1 / N, at t from 1e-3 to 1 here."""
    n = 1000
    chain = discretised(variance_preserving(), np.linspace(1e-3, 1.0, n))
    table = tables.reverse_diffusion(chain)
    beta = np.linspace(0.1 / n, 20.0 / n, n)[::-1]
    np.testing.assert_allclose(table.x + table.data[:, 0] / table.level.alpha, 2 - np.sqrt(1 - beta), atol=2e-4)
    np.testing.assert_allclose(table.variance[:-1], beta[:-1], rtol=0.1)  # near t = 0
    np.testing.assert_allclose(table.variance[:500], beta[:500], rtol=0.02)


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_sample_depends_on_the_others_of_its_batch(name: str) -> None:
    chain = discretised(SCHEDULES[name], np.linspace(0.05, 1.0, 5))
    sampler = samplers.predictor_corrector(tables.reverse_diffusion(chain))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(6, 2, 3)), jnp.float32)
    other = x.at[1:].multiply(100.0)
    np.testing.assert_array_equal(*(sampler(crooked, start, KEY).x[0] for start in (x, other)))


PREDICTORS = {
    "reverse diffusion": lambda schedule, times: tables.reverse_diffusion(discretised(schedule, times)),
    "ancestral": lambda schedule, times: tables.ancestral(discretised(schedule, times), large_variance),
    "euler-maruyama": tables.euler_maruyama,
}


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_corrector_takes_samples_closer_to_the_law(name: str, predictor: str) -> None:
    schedule = SCHEDULES[name]._replace(start=1e-3)
    times, n = np.linspace(1.0, 1e-3, 10), 4000
    table = PREDICTORS[predictor](schedule, times)
    x = float(schedule.sigma(jnp.float32(1.0))) * stats.norm.ppf((np.arange(n) + 0.5) / n)
    # Each number is a sample; many in an example, because the ratio of the norms of one has a heavy tail.
    x = jax.random.permutation(KEY, jnp.asarray(x, jnp.float32)).reshape(-1, 40)

    def found(steps: int) -> float:
        sampler = samplers.predictor_corrector(table, snr=0.3, steps=steps)
        return wasserstein(np.asarray(jax.jit(lambda x: sampler(LAW.denoise, x, KEY).x)(x)).ravel(), LAW)

    alone, corrected = found(0), found(4)
    assert corrected < 0.6 * alone, (alone, corrected)
    assert corrected < 0.07


def test_a_score_of_zero_is_left_alone() -> None:
    chain = discretised(VP, np.linspace(0.05, 1.0, 5))
    sampler = samplers.predictor_corrector(tables.reverse_diffusion(chain))
    nothing = lambda x, level: Prediction(x / level.alpha, jnp.zeros_like(x))
    assert np.isfinite(np.asarray(sampler(nothing, jnp.ones((2, 3)), KEY).x)).all()


def test_steps_of_several_predictions_are_not_corrected() -> None:
    chain = discretised(VP, np.linspace(0.05, 1.0, 5))
    with pytest.raises(InputError, match="former predictions cannot be corrected"):
        samplers.predictor_corrector(tables.dpm_solver_pp(chain))
