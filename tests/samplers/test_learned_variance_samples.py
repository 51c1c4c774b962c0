"""Ancestral sampling with the network's own variances, against the authors' `p_sample` in numpy, and on Gaussian data."""

from typing import Any

import improved
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture
from parameters import normal

import jaxgen
from jaxgen import samplers
from jaxgen.diffusion import (
    EPSILON,
    Prediction,
    classifier_free,
    clipped,
    cosine,
    denoiser,
    dynamic_threshold,
    from_betas,
    learned_range,
    linear,
    rescaled,
    small_variance,
    spaced,
)

KEY = jax.random.key(0)
X = normal(3, 4, 2, 2)


def network(x: Any, time: Any) -> Any:
    """In jax as in numpy: one half for the noise, the other for v, beyond [-1, 1] too."""
    xp: Any = np if isinstance(x, np.ndarray) else jnp
    time = xp.asarray(time).reshape(-1, 1, 1, 1)
    return xp.concatenate([xp.sin(x) + 0.1 * xp.cos(0.3 * time), 1.5 * xp.cos(2 * x) + 0.01 * time], -1)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("make", "steps", "count"), [(cosine, 12, 12), (linear, 12, 12), (cosine, 200, 7), (linear, 200, 25)])
def test_samples_are_the_authors(make: Any, steps: int, count: int, clip: bool) -> None:
    """`p_sample_loop`, of a shorter chain with that chain's own betas, where the network hears the times of the long one."""
    schedule = make(steps)
    kept = improved.space_timesteps(steps, count)
    chain = improved.spaced(improved.Chain(schedule.beta[1:]), kept)
    x = np.asarray(X, np.float64)
    for j, t in enumerate(range(count, 0, -1)):
        at = np.full(3, t)
        out = network(x, kept[at - 1])
        mean, log_variance, _ = chain.p_mean_variance(out, x, at, clip=clip)
        z = np.asarray(jax.random.normal(jax.random.fold_in(KEY, j), X.shape), np.float64)
        x = mean + (t > 1) * np.exp(0.5 * log_variance) * z
    denoise = denoiser(network, EPSILON, clip=(-1.0, 1.0) if clip else None)
    draw = samplers.ancestral(spaced(schedule, count, first=True), variance=learned_range)
    found = jax.jit(lambda x: draw(denoise, x, KEY).x)(X)
    np.testing.assert_allclose(found, x, rtol=2e-4, atol=2e-4 * np.abs(x).max())


@pytest.mark.parametrize("steps", [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [3, 7, 10]])
def test_with_the_analytic_variance_as_v_samples_stay_on_the_exact_marginals(steps: list[int]) -> None:
    """Of Gaussian data of the variance 0.37; before the last step, which adds no noise."""
    whole, c2 = from_betas(np.linspace(0.01, 0.3, 10)), 0.37
    chain = jaxgen.diffusion.subsequence(whole, steps)
    marginal = chain.alpha**2 * c2 + chain.sigma**2
    analytic = chain.posterior_variance + chain.posterior_x0**2 * chain.sigma**2 * c2 / marginal
    least, span = learned_range(chain)
    v = np.append(0.0, 2 * np.log(analytic[1:] / least[1:]) / span[1:] - 1)
    law = Mixture((0.0,), c2**0.5)

    def denoise(x: jax.Array, level: Any) -> Prediction:
        return law.denoise(x, level)._replace(v=jnp.interp(level.time, jnp.asarray(chain.time), jnp.asarray(v)) + 0 * x)

    start = jnp.sqrt(jnp.float32(marginal[-1])) * jax.random.normal(jax.random.key(1), (40_000, 1))
    spreads = []
    for variance in (learned_range, small_variance):
        path = samplers.ancestral(chain, variance=variance)(denoise, start, KEY, trajectory=chain.steps + 1).trajectory
        assert path is not None
        spreads.append(np.asarray(path).var((1, 2)))
    np.testing.assert_allclose(spreads[0][:-1], marginal[:0:-1], rtol=0.03)
    assert spreads[1][-2] < 0.98 * marginal[1]


def test_a_network_without_a_variance_is_refused() -> None:
    denoise = denoiser(lambda x, time: x, EPSILON)
    with pytest.raises(jaxgen.errors.InputError, match="predicts no variance to sample with"):
        samplers.ancestral(linear(4), variance=learned_range)(denoise, X, KEY)


@pytest.mark.parametrize("method", samplers.ON_CHAIN)
def test_samplers_that_have_no_variance_of_the_network_leave_it_alone(method: str) -> None:
    draw = samplers.ON_CHAIN[method](cosine(6))
    learned, plain = (denoiser(of, EPSILON) for of in (network, lambda x, time: network(x, time)[..., :2]))
    np.testing.assert_array_equal(draw(learned, X, KEY).x, draw(plain, X, KEY).x)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_second_half_of_twice_the_channels_is_v(channels: int) -> None:
    """Of one channel too, where an output of two would broadcast."""
    x, level = X[..., :channels], linear(10).level(4)
    found = denoiser(network, EPSILON)(x, level)
    assert found.x0.shape == found.eps.shape == x.shape
    assert found.v is not None
    np.testing.assert_allclose(found.v, network(x, 4.0)[..., channels:], rtol=1e-6)
    np.testing.assert_allclose(found.eps, network(x, 4.0)[..., :channels], rtol=1e-6)
    assert denoiser(lambda x, time: x, EPSILON)(x, level).v is None


def test_guidance_and_limits_keep_the_conditional_models_variance() -> None:
    level = linear(10).level(4)
    conditional = denoiser(network, EPSILON)
    other = denoiser(lambda x, time: network(x + 1, time), EPSILON)
    guided = classifier_free(conditional, other, 2.0)
    for limited in (guided, rescaled(guided, conditional, 0.7), clipped(guided, -1, 1), dynamic_threshold(guided, 0.9)):
        np.testing.assert_array_equal(limited(X, level).v, conditional(X, level).v)
