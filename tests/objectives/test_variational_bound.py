"""The bound against closed forms: a Gaussian law's exact bound, KLs by scipy, and the mass of a byte's levels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture
from parameters import normal
from scipy import integrate, stats

from jaxgen.diffusion import Prediction, cosine, geometric, large_variance, linear, small_variance
from jaxgen.distributions import DiscretizedNormal, Normal
from jaxgen.objectives import by_information, variational_bound

LAW = Mixture((0.3,), 0.6)
MIXTURE = Mixture((-0.8, 0.1, 0.9), 0.05)
KEY = jax.random.key(0)


def expected_parts(schedule, x0: float, variance: np.ndarray) -> tuple[float, float, float]:
    """L_T, the transitions and L_0 of one number, each averaged over x_t exactly; everything is Gaussian and nothing ours."""
    abar = np.cumprod(1 - schedule.beta)
    sigma2, beta, m, s2 = 1 - abar, schedule.beta, LAW.means[0], LAW.std**2
    prior = 0.5 * (sigma2[-1] + abar[-1] * x0**2 - 1 - np.log(sigma2[-1]))

    def squared_error(t: int) -> float:
        # E (x0 - E[x0 | x_t])^2 over x_t given x0: the posterior mean shrinks x_t's part and is off by the rest.
        gain = np.sqrt(abar[t]) * s2 / (abar[t] * s2 + sigma2[t])
        off = (x0 - m) * (1 - gain * np.sqrt(abar[t]))
        return off**2 + gain**2 * sigma2[t]

    transitions = 0.0
    for t in range(2, schedule.steps + 1):
        tilde = (1 - abar[t - 1]) / (1 - abar[t]) * beta[t]
        weight = (np.sqrt(abar[t - 1]) * beta[t] / (1 - abar[t])) ** 2
        ratio = tilde / variance[t]
        transitions += 0.5 * (ratio - 1 - np.log(ratio)) + weight * squared_error(t) / (2 * variance[t])
    decoder = 0.5 * np.log(2 * np.pi * variance[1]) + squared_error(1) / (2 * variance[1])
    return prior, transitions, decoder


@pytest.mark.parametrize("variance", [small_variance, large_variance])
@pytest.mark.parametrize("make", [linear, cosine])
def test_bound_of_a_gaussian_law_is_the_closed_form(make, variance) -> None:
    schedule = make(12)
    for x0 in (-0.5, 1.1):
        x = jnp.full((20_000, 1), x0)
        bound = jax.jit(
            lambda x: variational_bound(LAW.denoise, schedule, x, KEY, variance=variance, decoder=Normal)._replace(dimensions=0)
        )(x)
        prior, transitions, decoder = expected_parts(schedule, x0, variance(schedule))
        np.testing.assert_allclose(bound.prior.mean(), prior, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(bound.transitions.mean(), transitions, rtol=0.02)
        np.testing.assert_allclose(bound.decoder.mean(), decoder, rtol=0.02, atol=0.02)


def test_bound_tends_to_the_entropy_as_steps_grow() -> None:
    x = LAW.means[0] + LAW.std * normal(4000, 1)
    truth = -stats.norm.logpdf(x, LAW.means[0], LAW.std).mean()
    gaps = []
    options = {"variance": lambda schedule: schedule.beta, "decoder": Normal, "chunk": 4}
    for steps in (8, 32, 128):
        schedule = linear(steps)  # beta_1, the decoder's variance, tends to zero, and the bound to the likelihood
        gaps.append(float(jax.jit(functools.partial(variational_bound, LAW.denoise, schedule, **options))(x, KEY).total.mean()))
    gaps = [gap - truth for gap in gaps]
    assert gaps == sorted(gaps, reverse=True)
    assert 0 < gaps[-1] < 0.1, gaps


def test_a_transition_is_the_kl_of_gaussians_by_integration() -> None:
    # A chain of two steps has one transition. With a constant prediction its KL does not depend on x_t: take x_t = 0.
    schedule, x0, guess = linear(2, first=0.1, last=0.3), 0.4, -0.2

    def denoise(xt, level):
        return Prediction(jnp.full_like(xt, guess), xt)

    bound = variational_bound(denoise, schedule, jnp.full((1, 1), x0), KEY, variance=large_variance, decoder=Normal)
    means = [schedule.posterior_x0[2] * a for a in (x0, guess)]
    q = stats.norm(means[0], np.sqrt(schedule.posterior_variance[2]))
    p = stats.norm(means[1], np.sqrt(schedule.beta[2]))
    kl, _ = integrate.quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), -5, 5, points=means)
    np.testing.assert_allclose(bound.transitions[0], kl, rtol=1e-4)
    np.testing.assert_allclose(bound.decoder[0], -stats.norm.logpdf(x0, guess, np.sqrt(0.3 * 0.1 / (1 - 0.9 * 0.7))), rtol=1e-4)


def evenly(schedule) -> np.ndarray:
    return np.full(schedule.steps - 1, 1 / (schedule.steps - 1))


def skewed(schedule) -> np.ndarray:
    """Nothing like the costs: the most probable transitions cost the least."""
    return np.arange(1, schedule.steps) / np.arange(1, schedule.steps).sum()


@pytest.mark.slow
@pytest.mark.parametrize("variance", [small_variance, large_variance])
@pytest.mark.parametrize("proposal", [by_information, evenly, skewed])
@pytest.mark.parametrize(("make", "samples"), [(cosine, 1), (cosine, 4), (linear, 7)])
def test_estimate_from_some_transitions_is_unbiased(make, samples: int, proposal, variance) -> None:
    schedule, x = make(20), jnp.broadcast_to(jnp.array([[-0.5], [1.0]]), (2, 1))

    def parts(key, samples):
        options = {"decoder": Normal, "samples": samples, "proposal": proposal, "variance": variance}
        return variational_bound(MIXTURE.denoise, schedule, x, key, **options).transitions

    keys = jax.random.split(KEY, 3000)
    estimates = jax.jit(jax.vmap(lambda key: parts(key, samples)))(keys)
    whole = jax.jit(jax.vmap(lambda key: parts(key, None)))(keys[:500])
    error = np.hypot(estimates.std(0) / np.sqrt(3000), whole.std(0) / np.sqrt(500))
    np.testing.assert_array_less(np.abs(estimates.mean(0) - whole.mean(0)), 4.5 * error)
    assert (error < 0.2 * np.abs(whole.mean(0))).all()


@pytest.mark.slow
@pytest.mark.parametrize("law", [LAW, MIXTURE, Mixture((-0.9, 0.9), 0.3)])
@pytest.mark.parametrize("make", [linear, cosine])
def test_the_proposal_makes_the_estimate_more_certain_than_an_even_choice(make, law) -> None:
    schedule, x = make(200), jnp.array([[-0.5], [0.1], [0.9]])

    def estimates(proposal):
        one = lambda key: variational_bound(law.denoise, schedule, x, key, decoder=Normal, samples=10, proposal=proposal)
        return jax.jit(jax.vmap(one))(jax.random.split(KEY, 1000)).transitions

    np.testing.assert_array_less(1.5 * estimates(by_information).std(0), estimates(evenly).std(0))


@pytest.mark.parametrize("schedule", [linear(2), linear(1000), cosine(50), geometric(10, smallest=0.01, largest=3.0)])
def test_a_proposal_is_a_law_without_zeros(schedule) -> None:
    law = by_information(schedule)
    assert law.shape == (schedule.steps - 1,)
    np.testing.assert_allclose(law.sum(), 1, rtol=1e-12)
    assert law.min() * schedule.steps > 0.09


def test_all_samples_are_the_exact_bound_and_chunks_do_not_matter() -> None:
    schedule, x = linear(8), normal(3, 4, 4, 1)
    run = jax.jit(
        lambda x, samples, chunk: (
            variational_bound(LAW.denoise, schedule, x, KEY, decoder=Normal, samples=samples, chunk=chunk).total
        ),
        static_argnums=(1, 2),
    )
    one = run(x, None, 1)
    for chunk in (3, 7, 20):
        np.testing.assert_allclose(run(x, None, chunk), one, rtol=1e-5)
    np.testing.assert_allclose(run(x, 7, 1), run(x, 100, 1), rtol=1e-5)


def test_parts_add_up_and_bits_are_nats_by_dimension() -> None:
    x = jnp.clip(normal(2, 4, 4, 1), -1, 1)
    bound = variational_bound(LAW.denoise, linear(4), x, KEY)
    np.testing.assert_allclose(bound.total, bound.prior + bound.transitions + bound.decoder, rtol=1e-6)
    np.testing.assert_allclose(bound.bits["bits_per_dim"], bound.total / 16 / np.log(2), rtol=1e-5)
    assert bound.bits["decoder"].shape == (2,)
    alone = variational_bound(LAW.denoise, linear(1), x, KEY)
    np.testing.assert_array_equal(alone.transitions, 0)
    assert np.isfinite(alone.total).all()


@pytest.mark.parametrize("std", [0.003, 0.01, 0.2, 3.0])
def test_levels_of_a_discretised_normal_have_scipys_mass(std: float) -> None:
    grid = np.linspace(-1, 1, 256)
    for loc in (-0.9, 0.1, 1.3):
        upper, lower = (stats.norm.cdf((grid + s / 255 - loc) / std) for s in (1, -1))
        upper[-1], lower[0] = 1, 0
        ours = DiscretizedNormal(jnp.array(loc, jnp.float32), jnp.array(std, jnp.float32)).log_prob(
            jnp.array(grid, jnp.float32)
        )
        np.testing.assert_allclose(np.exp(ours), upper - lower, rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(np.exp(ours).sum(), 1, rtol=1e-4)


def test_levels_far_from_the_mean_have_finite_mass_and_gradients() -> None:
    def total(loc):
        return DiscretizedNormal(loc, jnp.array(0.01)).log_prob(jnp.array([-0.6, 0.6, -1.0, 1.0])).sum()

    value, gradient = jax.value_and_grad(total)(jnp.array(0.0))
    assert np.isfinite(value)
    assert np.isfinite(gradient)
    # Between the tails' asymptotics: log of the mass within a level at distance d is about -(d - 1/255)^2 / 2 std^2.
    far = DiscretizedNormal(jnp.array(0.0), jnp.array(0.01)).log_prob(jnp.array(0.6))
    np.testing.assert_allclose(far, -((0.6 - 1 / 255) ** 2) / 2e-4, rtol=0.01)
