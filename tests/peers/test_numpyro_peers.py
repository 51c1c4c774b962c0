"""Distributions and bounds against numpyro."""

import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parameters import normal

from jaxgen.distributions import Bernoulli, DiscretizedLogistic, Normal
from jaxgen.objectives import elbo, importance_weighted

numpyro = pytest.importorskip("numpyro", reason="numpyro is not installed (the extra `peers`)")
dist = pytest.importorskip("numpyro.distributions", reason="numpyro is not installed (the extra `peers`)")
infer = pytest.importorskip("numpyro.infer", reason="numpyro is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers

EXACT = lg.exact(5, 2)
OTHER = lg.moved(EXACT)
X = lg.draw(EXACT, 3)
numbers = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
widths = st.floats(-8, 8, width=32).map(np.exp)


@given(numbers, numbers, widths)
def test_log_prob_of_a_normal_is_numpyros(x: float, mean: float, std: float) -> None:
    x, mean, std = (jnp.array(a, jnp.float32) for a in (x, mean, std))
    np.testing.assert_allclose(Normal(mean, std).log_prob(x), dist.Normal(mean, std).log_prob(x), rtol=1e-5, atol=1e-5)


@given(numbers, widths, numbers, widths)
def test_kl_of_normals_is_numpyros(mean_p: float, std_p: float, mean_q: float, std_q: float) -> None:
    p, q = ((jnp.array(m, jnp.float32), jnp.array(s, jnp.float32)) for m, s in ((mean_p, std_p), (mean_q, std_q)))
    theirs = dist.kl_divergence(dist.Normal(*p), dist.Normal(*q))
    np.testing.assert_allclose(Normal(*p).kl(Normal(*q)), theirs, rtol=1e-5, atol=1e-5)


@given(st.floats(-200, 200, width=32), st.integers(0, 1))
def test_log_prob_of_a_bernoulli_is_numpyros(logits: float, x: int) -> None:
    ours = Bernoulli(jnp.array(logits, jnp.float32)).log_prob(jnp.array(x, jnp.float32))
    theirs = dist.BernoulliLogits(jnp.array(logits, jnp.float32)).log_prob(x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)


def test_probability_of_a_level_is_a_difference_of_numpyros_logistic_cdf() -> None:
    grid, loc, scale = jnp.linspace(-1, 1, 256)[:, None], 0.5 * normal(16), jnp.exp(0.3 * normal(16, seed=1) - 1)
    theirs = dist.Logistic(loc, scale)
    upper, lower = theirs.cdf(grid + 1 / 255).at[-1].set(1.0), theirs.cdf(grid - 1 / 255).at[0].set(0.0)
    ours = jnp.exp(DiscretizedLogistic(loc, jnp.log(scale)).log_prob(grid))
    np.testing.assert_allclose(ours, upper - lower, atol=1e-6)


def model(x: jax.Array) -> None:
    z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
    mean = z @ jnp.array(EXACT["weight"].T, jnp.float32) + jnp.array(EXACT["mean"], jnp.float32)
    numpyro.sample("x", dist.Normal(mean, float(np.exp(EXACT["log_sigma"]))).to_event(1), obs=x)


def guide(x: jax.Array) -> None:
    mean = jnp.array(OTHER["encoder"], jnp.float32) @ x + jnp.array(OTHER["offset"], jnp.float32)
    numpyro.sample("z", dist.Normal(mean, jnp.exp(jnp.array(OTHER["log_std"], jnp.float32))).to_event(1))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda m: elbo(m, analytic_kl=False, samples=4), lambda: infer.Trace_ELBO(num_particles=4)),
        (lambda m: elbo(m, samples=4), lambda: infer.TraceMeanField_ELBO(num_particles=4)),
        (lambda m: importance_weighted(m, samples=4), lambda: infer.RenyiELBO(alpha=0.0, num_particles=4)),
        (lambda m: importance_weighted(m, samples=4, chunk=2), lambda: infer.RenyiELBO(alpha=0.0, num_particles=4)),
    ],
    ids=["elbo with a sampled KL", "elbo", "importance-weighted", "importance-weighted in chunks"],
)
def test_a_bound_is_numpyros_in_mean_and_spread(ours, theirs) -> None:
    loss, reference, params = ours(lg.LinearGaussian(dim=5, latents=2)), theirs(), lg.tree(OTHER)
    for x in map(jnp.array, X):
        mean, error = lg.over_keys(
            lambda key, x=x: loss(params, lg.state(params), {"image": x[None]}, key, train=True)[0][0], 10_000
        )
        other, other_error = lg.over_keys(lambda key, x=x: reference.loss(key, {}, model, guide, x), 10_000, seed=1)
        assert abs(mean - other) < 5 * np.hypot(error, other_error)
        np.testing.assert_allclose(error, other_error, rtol=0.1)
