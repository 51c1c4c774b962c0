"""The multivariate normal distribution against scipy, samples and independent normals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.distributions import MultivariateNormal, Normal

D = 4


def factors(n: int, *, seed: int = 0) -> np.ndarray:
    """Random lower-triangular matrices with a positive diagonal, `[n, D, D]`."""
    rng = np.random.default_rng(seed)
    lower = np.tril(rng.normal(size=(n, D, D)), -1)
    return (lower + np.exp(rng.normal(size=(n, D)))[:, :, None] * np.eye(D)).astype(np.float32)


def means(n: int, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


def kl_in_numpy(mean: np.ndarray, scale: np.ndarray, m: np.ndarray, s: np.ndarray) -> float:
    """With inverses and determinants of the covariances, in double precision."""
    mean, scale, m, s = (np.asarray(a, np.float64) for a in (mean, scale, m, s))
    p, q = scale @ scale.T, np.diag(s**2)
    log_dets = np.linalg.slogdet(q)[1] - np.linalg.slogdet(p)[1]
    return 0.5 * (np.trace(np.linalg.inv(q) @ p) + (mean - m) @ np.linalg.inv(q) @ (mean - m) - len(m) + log_dets)


def test_log_prob_is_scipys() -> None:
    mean, scale, x = means(5), factors(5), means(5, seed=2)
    ours = MultivariateNormal(jnp.array(mean), jnp.array(scale)).log_prob(jnp.array(x))
    cov = scale.astype(np.float64) @ scale.astype(np.float64).swapaxes(1, 2)
    np.testing.assert_allclose(ours, [stats.multivariate_normal.logpdf(*a) for a in zip(x, mean, cov, strict=True)], rtol=1e-4)


def test_kl_to_a_standard_normal_is_the_textbooks() -> None:
    mean, scale = means(6), factors(6)
    ours = MultivariateNormal(jnp.array(mean), jnp.array(scale)).kl(Normal())
    assert ours.shape == (6,)
    theirs = [kl_in_numpy(m, s, np.zeros(D), np.ones(D)) for m, s in zip(mean, scale, strict=True)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_kl_to_other_independent_normals_is_the_textbooks() -> None:
    mean, scale = means(6), factors(6)
    m, s = means(1, seed=3)[0], np.exp(means(1, seed=4)[0])
    ours = MultivariateNormal(jnp.array(mean), jnp.array(scale)).kl(Normal(jnp.array(m), jnp.array(s)))
    np.testing.assert_allclose(ours, [kl_in_numpy(a, b, m, s) for a, b in zip(mean, scale, strict=True)], rtol=1e-5)


def test_kl_is_the_mean_log_ratio_of_samples() -> None:
    q, prior = MultivariateNormal(jnp.array(means(1)[0]), jnp.array(factors(1)[0])), Normal()
    z = q.sample(jax.random.key(0), samples=100_000)
    log_q = stats.multivariate_normal.logpdf(z, q.mean, np.asarray(q.scale @ q.scale.T, np.float64))
    ratios = log_q - np.asarray(prior.log_prob(z), np.float64).sum(1)
    assert abs(ratios.mean() - q.kl(prior)) < 5 * ratios.std() / np.sqrt(len(ratios))


def test_a_diagonal_factor_is_independent_normals() -> None:
    mean, std, x = means(3), np.exp(means(3, seed=5)), means(3, seed=6)
    full = MultivariateNormal(jnp.array(mean), jnp.array(std[:, :, None] * np.eye(D, dtype=np.float32)))
    independent = Normal(jnp.array(mean), jnp.array(std))
    np.testing.assert_allclose(full.log_prob(jnp.array(x)), independent.log_prob(jnp.array(x)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(full.kl(Normal()), independent.kl(Normal()).sum(1), rtol=1e-5)
    key = jax.random.key(0)
    np.testing.assert_allclose(full.sample(key, samples=2), independent.sample(key, samples=2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("samples", [None, 1, 7])
def test_samples_have_a_leading_axis_only_if_asked(samples: int | None) -> None:
    z = MultivariateNormal(jnp.array(means(3)), jnp.array(factors(3))).sample(jax.random.key(0), samples=samples)
    assert z.shape == ((3, D) if samples is None else (samples, 3, D))


def test_samples_have_the_mean_and_the_covariance() -> None:
    mean, scale = means(2), factors(2)
    z = np.asarray(MultivariateNormal(jnp.array(mean), jnp.array(scale)).sample(jax.random.key(1), samples=100_000), np.float64)
    # Whitened by the factor they are a standard normal.
    white = np.linalg.solve(scale.astype(np.float64)[None], (z - mean)[..., None])[..., 0]
    for i in range(2):
        np.testing.assert_allclose(white[:, i].mean(0), 0, atol=5 / np.sqrt(len(z)))
        np.testing.assert_allclose(np.cov(white[:, i].T), np.eye(D), atol=5 * np.sqrt(2 / len(z)))


def test_gradients_of_the_kl_are_exact() -> None:
    mean, scale = means(1)[0], factors(1)[0]
    by_mean, by_scale = jax.grad(lambda m, s: MultivariateNormal(m, s).kl(Normal()), (0, 1))(jnp.array(mean), jnp.array(scale))
    np.testing.assert_allclose(by_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(by_scale, scale - np.diag(1 / np.diag(scale)), rtol=1e-4, atol=1e-6)
