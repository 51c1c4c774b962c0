"""The free energy, and bounds whose posterior is a flow, against the evidence of probabilistic PCA."""

from typing import Any

import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import pytest

import jaxgen
from jaxgen.distributions import FlowPosterior, Normal
from jaxgen.models.flows import planar
from jaxgen.objectives import elbo, free_energy, importance_weighted_bound

MODEL = lg.LinearGaussian(dim=5, latents=2)
EXACT = lg.exact(5, 2)
OTHER = lg.moved(EXACT)
X = lg.draw(EXACT, 4)


class Bent(lg.LinearGaussian):
    """The same model with three planar steps after the posterior."""

    def encode(self, x: jax.Array, *, train: bool = False) -> Any:
        w, u, b = (
            jnp.float32(np.random.default_rng(i).normal(size=(3, len(x), *shape))) for i, shape in enumerate(((2,), (2,), ()))
        )
        return FlowPosterior(super().encode(x, train=train), planar, (0.6 * w, 0.3 * u, b))


@pytest.mark.parametrize("samples", [1, 4])
def test_at_one_it_is_the_elbo_with_a_sampled_kl(samples: int) -> None:
    found, metrics = lg.values(free_energy(MODEL, samples=samples), lg.tree(OTHER), X)
    expected, others = lg.values(elbo(MODEL, samples=samples, analytic_kl=False), lg.tree(OTHER), X)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for name in ("elbo", "log_likelihood", "kl"):
        np.testing.assert_allclose(metrics[name], others[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_the_weight_is_that_of_the_joint_density_and_not_of_the_kl(beta: float) -> None:
    """By its metrics: log q = kl + log p(z), and log p(z) from the loss at 1."""
    whole, metrics = lg.values(free_energy(MODEL, beta=lambda step: beta + 0 * step), lg.tree(OTHER), X)
    one, _ = lg.values(free_energy(MODEL), lg.tree(OTHER), X)
    # E[log q] in closed form: of one draw it is -log q = entropy on average, so compare over draws.
    loss = free_energy(MODEL, beta=beta)
    params = lg.tree(OTHER)
    draw = lambda key: loss(params, lg.state(params), {"image": jnp.array(X)}, key, train=False)[0]
    mean, error = lg.over_keys(draw, 20_000)
    entropy = (0.5 * np.log(2 * np.pi * np.e) + OTHER["log_std"]).sum()
    gap = lg.gap(OTHER, EXACT, X)
    joint = lg.evidence(EXACT, X) - gap - entropy  # E_q[log p(x, z)]
    np.testing.assert_array_less(np.abs(mean - (-entropy - beta * joint)), 5 * error + 1e-3)
    np.testing.assert_allclose(metrics["elbo"], -one, rtol=1e-5)
    assert np.abs(np.asarray(whole - one)).max() > 0.1


def test_with_a_flow_posterior_the_bound_rises_to_the_evidence() -> None:
    # A wider base, so that no step makes a law that is narrower than the posterior.
    params = lg.tree({**EXACT, "log_std": EXACT["log_std"] + 1.2})
    evidence = lg.evidence(EXACT, X)
    bent = Bent(dim=5, latents=2)
    one = lambda key: importance_weighted_bound(bent, params, {}, jnp.array(X), key, samples=1)[0]
    mean, error = lg.over_keys(one, 4000)
    assert (evidence - mean > 5 * error).all()
    many, _ = jax.jit(lambda key: importance_weighted_bound(bent, params, {}, jnp.array(X), key, samples=40_000, chunk=10_000))(
        jax.random.key(0)
    )
    np.testing.assert_allclose(many, evidence, atol=0.05)
    elbos = lambda key: -free_energy(bent)(params, lg.state(params), {"image": jnp.array(X)}, key, train=False)[0]
    other, spread = lg.over_keys(elbos, 4000)
    np.testing.assert_array_less(np.abs(other - mean), 5 * (error + spread))


def test_a_kl_in_closed_form_is_refused_with_a_sentence() -> None:
    params = lg.tree(EXACT)
    with pytest.raises(jaxgen.UserError, match="analytic_kl=False"):
        elbo(Bent(dim=5, latents=2))(params, lg.state(params), {"image": jnp.array(X)}, jax.random.key(0), train=True)


def test_samples_and_log_densities_of_a_normal_are_the_pair_of_calls() -> None:
    q = Normal(jnp.arange(6.0).reshape(2, 3), jnp.full((2, 3), 0.5))
    key = jax.random.split(jax.random.key(0), 2)
    z, log_q = q.sample_and_log_prob(key, samples=4)
    np.testing.assert_array_equal(z, q.sample(key, samples=4))
    np.testing.assert_allclose(log_q, np.asarray(q.log_prob(z)).sum(-1), rtol=1e-5)
