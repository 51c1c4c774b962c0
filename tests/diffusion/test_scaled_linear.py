"""The chain of latent diffusion and its sampling, against the authors' formulas (github.com/CompVis/latent-diffusion,
ldm/modules/diffusionmodules/util.py and ldm/models/diffusion/ddim.py), which count the steps from 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import diffusion, samplers
from jaxgen.diffusion import Discrete, scaled_linear, spaced

KEY = jax.random.key(0)


def authors(first: float, last: float) -> np.ndarray:
    """`make_beta_schedule("linear", 1000, first, last)`."""
    return np.linspace(first**0.5, last**0.5, 1000, dtype=np.float64) ** 2


@pytest.mark.parametrize(("first", "last"), [(0.00085, 0.012), (0.0015, 0.0195), (0.0015, 0.0155)])
def test_the_variances_are_those_of_the_authors(first: float, last: float) -> None:
    chain = scaled_linear(first=first, last=last)
    np.testing.assert_allclose(chain.beta[1:], authors(first, last), rtol=1e-9)
    np.testing.assert_allclose(chain.alpha[1:] ** 2, np.cumprod(1 - authors(first, last)), rtol=1e-9)


def test_the_defaults_are_those_of_stable_diffusion() -> None:
    np.testing.assert_array_equal(scaled_linear().alpha, scaled_linear(first=0.00085, last=0.012).alpha)


@pytest.mark.parametrize("steps", [50, 200, 4000])
def test_a_chain_of_another_length_ends_with_about_the_same_noise(steps: int) -> None:
    assert scaled_linear(steps).log_snr[-1] == pytest.approx(scaled_linear().log_snr[-1], rel=0.15)


@pytest.mark.parametrize("steps", [2, 6])
def test_no_variance_is_one(steps: int) -> None:
    assert scaled_linear(steps, last=0.9).beta.max() == pytest.approx(0.999)


def eps_of(x: np.ndarray, t: float) -> np.ndarray:
    """A network, of the authors' times 0 ... 999."""
    return np.tanh(0.7 * x + t / 500 - 1)


def by_authors(x: np.ndarray, count: int) -> np.ndarray:
    """`DDIMSampler.sample(S=count, eta=0)`."""
    alphas_cumprod = np.cumprod(1 - authors(0.0015, 0.0195))
    timesteps = np.asarray(list(range(0, 1000, 1000 // count))) + 1
    alphas_prev = np.asarray([alphas_cumprod[0], *alphas_cumprod[timesteps[:-1]].tolist()])
    for index in range(count - 1, -1, -1):
        a, before = alphas_cumprod[timesteps[index]], alphas_prev[index]
        e = eps_of(x, timesteps[index])
        x = before**0.5 * (x - (1 - a) ** 0.5 * e) / a**0.5 + (1 - before) ** 0.5 * e
    return x


def by_ours(x: np.ndarray, chain: Discrete) -> np.ndarray:
    network = lambda x, time: jnp.tanh(0.7 * x + (time[:, None] - 1) / 500 - 1)
    return np.asarray(samplers.ddim(chain)(diffusion.denoiser(network, diffusion.EPSILON), jnp.asarray(x, jnp.float32), KEY).x)


X = np.random.default_rng(0).normal(size=(3, 5))
NOISE = scaled_linear(first=0.0015, last=0.0195)


@pytest.mark.parametrize("count", [4, 20])
def test_on_the_authors_steps_our_ddim_is_theirs(count: int) -> None:
    """Their first step is 1 of 0 ... 999, and their last one ends at the noise of step 0: our steps 2, 2 + c, ... and 1."""
    theirs = np.array([1, *range(2, 1001, 1000 // count)])
    np.testing.assert_allclose(by_ours(X, Discrete(*(a[theirs] for a in NOISE))), by_authors(X, count), atol=2e-4)


def test_ours_ends_at_data_and_theirs_with_the_noise_of_the_first_step() -> None:
    """What `--sampling-steps` does here: from the last step of the chain to data, with nothing left of the noise."""
    chain = spaced(NOISE, 20)
    assert (chain.time[-1], chain.sigma[0], chain.alpha[0]) == (1000, 0, 1)
    theirs = np.array([1, *range(2, 1001, 50)])
    assert (theirs[-1], NOISE.sigma[theirs[0]]) == (952, pytest.approx(0.0015**0.5))
    assert np.abs(by_ours(X, chain) - by_authors(X, 20)).max() > 0.01
