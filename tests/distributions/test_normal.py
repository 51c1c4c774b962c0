"""The normal distribution against scipy."""

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from jaxgen.distributions import Normal, sum_event


def vectors(low: float, high: float) -> st.SearchStrategy:
    numbers = st.floats(np.float32(low), np.float32(high), width=32, allow_subnormal=False)
    return hnp.arrays(np.float32, 16, elements=numbers)


@jax.jit
def log_prob(x: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    return Normal(mean, std).log_prob(x)


@jax.jit
def kl(mean_p: jax.Array, std_p: jax.Array, mean_q: jax.Array, std_q: jax.Array) -> jax.Array:
    return Normal(mean_p, std_p).kl(Normal(mean_q, std_q))


log_prob_gradients = jax.jit(jax.grad(lambda *a: log_prob(*a).sum(), (0, 1, 2)))
kl_gradients = jax.jit(jax.grad(lambda mean, std: Normal(mean, std).kl(Normal()).sum(), (0, 1)))


def f64(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(a, np.float64) for a in arrays)


def scipy_kl(mean_p: np.ndarray, std_p: np.ndarray, mean_q: np.ndarray, std_q: np.ndarray) -> np.ndarray:
    cross_entropy = -stats.norm.logpdf(mean_p, mean_q, std_q) + std_p**2 / (2 * std_q**2)
    return cross_entropy - stats.norm.entropy(mean_p, std_p)


@given(vectors(-1e6, 1e6), vectors(-1e6, 1e6), vectors(-25, 25))
def test_log_prob_is_scipys(x: np.ndarray, mean: np.ndarray, log_std: np.ndarray) -> None:
    std = np.exp(log_std)
    ours = log_prob(x, mean, std)
    np.testing.assert_allclose(ours, stats.norm.logpdf(*f64(x, mean, std)), rtol=2e-6, atol=1e-5)


@given(vectors(-1e3, 1e3), vectors(-40, 20), vectors(-1e3, 1e3), vectors(-15, 20))
def test_kl_is_the_cross_entropy_less_the_entropy(
    mean_p: np.ndarray, log_p: np.ndarray, mean_q: np.ndarray, log_q: np.ndarray
) -> None:
    std_p, std_q = np.exp(log_p), np.exp(log_q)
    ours = kl(mean_p, std_p, mean_q, std_q)
    np.testing.assert_allclose(ours, scipy_kl(*f64(mean_p, std_p, mean_q, std_q)), rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize(("p", "q"), [((0.0, 1.0), (0.0, 1.0)), ((1.0, 0.5), (0.0, 1.0)), ((-2.0, 3.0), (1.0, 0.7))])
def test_kl_is_the_integral(p: tuple[float, float], q: tuple[float, float]) -> None:
    def integrand(x: float) -> float:
        return stats.norm.pdf(x, *p) * (stats.norm.logpdf(x, *p) - stats.norm.logpdf(x, *q))

    value, _ = integrate.quad(integrand, p[0] - 12 * p[1], p[0] + 12 * p[1])
    ours = Normal(*map(jnp.array, p)).kl(Normal(*map(jnp.array, q)))
    np.testing.assert_allclose(ours, value, rtol=1e-5, atol=1e-6)


def test_kl_is_the_mean_log_ratio_of_samples() -> None:
    p, q = Normal(jnp.array([0.3, -1.0]), jnp.array([0.2, 1.5])), Normal(jnp.array([0.0, 0.5]), jnp.array([1.0, 0.8]))
    z = p.sample(jax.random.key(0), samples=200_000)
    ratios = np.asarray(p.log_prob(z) - q.log_prob(z), np.float64)
    error = ratios.std(0) / np.sqrt(len(ratios))
    np.testing.assert_array_less(np.abs(ratios.mean(0) - p.kl(q)), 5 * error)


def test_kl_to_itself_is_zero() -> None:
    p = Normal(jnp.array([-3.0, 0.1, 1e4]), jnp.array([1e-12, 0.3, 1e9]))
    np.testing.assert_array_equal(p.kl(p), 0.0)


@given(vectors(-1e3, 1e3), vectors(-15, 15), vectors(-100, 100))
def test_gradients_of_log_prob_are_finite_and_exact(mean: np.ndarray, log_std: np.ndarray, distance: np.ndarray) -> None:
    std = np.exp(log_std)
    x = (mean + distance * std).astype(np.float32)
    grads = log_prob_gradients(x, mean, std)
    x, mean, std = f64(x, mean, std)
    r = (x - mean) / std
    # Times the width, where numbers below the smallest normal one, which a device takes for zero, do not matter.
    np.testing.assert_allclose(grads[0] * std, -r, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(grads[1] * std, r, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(grads[2] * std, r**2 - 1, rtol=1e-5, atol=1e-5)


@given(vectors(-1e3, 1e3), vectors(-40, 15))
def test_gradients_of_kl_are_finite_and_exact(mean: np.ndarray, log_std: np.ndarray) -> None:
    std = np.exp(log_std)
    grads = kl_gradients(mean, std)
    mean, std = f64(mean, std)
    np.testing.assert_allclose(grads[0], mean, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(grads[1], std - 1 / std, rtol=1e-5, atol=1e-6)


def test_samples_follow_the_distribution() -> None:
    mean, std = np.array([-2.0, 0.0, 5.0], np.float32), np.array([0.1, 1.0, 30.0], np.float32)
    z = Normal(jnp.array(mean), jnp.array(std)).sample(jax.random.key(1), samples=50_000)
    for i in range(3):
        assert stats.kstest(np.asarray(z[:, i], np.float64), stats.norm(mean[i], std[i]).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(np.asarray(z).T)[np.triu_indices(3, 1)]).max() < 5 / np.sqrt(len(z))


def test_samples_have_a_leading_axis_only_if_asked() -> None:
    q = Normal(jnp.zeros((2, 3)), jnp.ones((2, 3)))
    assert q.sample(jax.random.key(0)).shape == (2, 3)
    assert q.sample(jax.random.key(0), samples=1).shape == (1, 2, 3)
    assert q.sample(jax.random.key(0), samples=4).shape == (4, 2, 3)


def test_samples_are_differentiable_in_mean_and_std() -> None:
    mean, std = jnp.array([1.0, -1.0]), jnp.array([0.5, 2.0])
    z, pull = jax.vjp(lambda m, s: Normal(m, s).sample(jax.random.key(2)), mean, std)
    by_mean, by_std = pull(jnp.ones(2))
    np.testing.assert_array_equal(by_mean, 1.0)
    np.testing.assert_allclose(by_std, (z - mean) / std, rtol=1e-5)


def test_log_prob_of_an_example_is_that_of_independent_elements() -> None:
    mean, std, x = np.random.default_rng(0).normal(size=(3, 4, 2, 3, 1)).astype(np.float32)
    std = np.abs(std) + 0.1
    ours = sum_event(Normal(jnp.array(mean), jnp.array(std)).log_prob(jnp.array(x)))
    theirs = [stats.multivariate_normal.logpdf(x[i].ravel(), mean[i].ravel(), np.diag(std[i].ravel() ** 2)) for i in range(4)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_log_prob_of_an_example_is_summed_in_float32() -> None:
    total = sum_event(jnp.full((1, 32, 32, 3), -0.01, jnp.bfloat16))
    assert total.dtype == jnp.float32
    np.testing.assert_allclose(total, 3072 * float(jnp.bfloat16(-0.01)), rtol=1e-5)
