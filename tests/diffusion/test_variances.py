"""The power of the predicted noise, and what it says of the data that are not known, on laws whose answers are exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture

from jaxgen.diffusion import (
    analytic_variance,
    data_covariance,
    discretised,
    from_betas,
    linear_path,
    noise_power,
    small_variance,
)
from jaxgen.distributions import Normal
from jaxgen.objectives import variational_bound

CHAIN = from_betas(np.linspace(0.01, 0.3, 10))
C2 = 0.37
GAUSSIAN = Mixture((0.0,), float(np.sqrt(C2)))
MARGINAL = CHAIN.alpha**2 * C2 + CHAIN.sigma**2


def test_the_power_of_the_noise_of_a_gaussian() -> None:
    x0 = np.sqrt(C2) * jax.random.normal(jax.random.key(0), (4000, 5))
    for key in (jax.random.key(1), jax.random.split(jax.random.key(1), 4000)):
        found = jax.jit(lambda x0, key: noise_power(GAUSSIAN.denoise, CHAIN, x0, key, chunk=3))(jnp.float32(x0), key)
        np.testing.assert_allclose(found[1:], CHAIN.sigma[1:] ** 2 / MARGINAL[1:], rtol=0.03)
        assert found[0] == 1


def test_the_covariance_of_a_mixture_is_that_of_its_posterior() -> None:
    """By quadrature over x_t of the mixture's marginal, and of the data's posterior at each of them."""
    law, t = Mixture((-1.0, 0.5, 2.0), 0.2), 6
    alpha, sigma = CHAIN.alpha[t], CHAIN.sigma[t]
    x0, xt = np.linspace(-3, 4, 1501), np.linspace(-6, 6, 1201)
    prior = np.mean([np.exp(-((x0 - m) ** 2) / (2 * 0.04)) for m in law.means], axis=0)
    joint = prior * np.exp(-((xt[:, None] - alpha * x0) ** 2) / (2 * sigma**2))
    mean = (joint * x0).sum(1) / joint.sum(1)
    expected = (joint * (x0 - mean[:, None]) ** 2).sum() / joint.sum()
    draws = np.random.default_rng(0).choice(x0, 20_000, p=prior / prior.sum())[:, None]
    power = jax.jit(lambda x: noise_power(law.denoise, CHAIN, x, jax.random.key(0)))(jnp.asarray(draws, jnp.float32))
    assert data_covariance(CHAIN, np.asarray(power), largest=9.0)[t] == pytest.approx(expected, rel=0.05)


def test_it_is_kept_between_nothing_and_the_range_of_the_data() -> None:
    chain = discretised(linear_path(), [0.5, 1.0])
    np.testing.assert_array_equal(data_covariance(chain, np.array([1.0, 1.2, 0.9])), [0, 0, 1])
    assert data_covariance(chain, np.array([1.0, 0.9, 0.9]), largest=0.05)[1] == 0.05


def test_the_bound_with_analytic_variances_is_the_likelihood_and_the_priors_kl() -> None:
    """Of Gaussian data all steps are then exact, so that only the prior's KL is lost."""
    variance = analytic_variance(CHAIN, np.append(1.0, CHAIN.sigma[1:] ** 2 / MARGINAL[1:]))
    x0 = np.sqrt(C2) * np.random.default_rng(0).normal(size=(20_000, 1))
    means = {}
    for name, of in (("analytic", variance), ("small", small_variance)):
        bound = jax.jit(
            lambda x, of=of: variational_bound(GAUSSIAN.denoise, CHAIN, x, jax.random.key(2), variance=of, decoder=Normal).total
        )
        means[name] = float(bound(jnp.asarray(x0, jnp.float32)).mean())
    nll = 0.5 * (np.log(2 * np.pi * C2) + (x0**2).mean() / C2)
    end = MARGINAL[-1]
    gap = 0.5 * (end - 1 - np.log(end))
    assert means["analytic"] == pytest.approx(nll + gap, abs=0.02)
    assert means["small"] > means["analytic"] + 0.05
