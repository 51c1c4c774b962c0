"""Schedules and sampler steps against Hugging Face's diffusers, on the same network output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.diffusion import (
    EPSILON,
    Prediction,
    V,
    classifier_free,
    clipped,
    cosine,
    denoiser,
    diffuse,
    dynamic_threshold,
    large_variance,
    learned_range,
    linear,
    posterior,
    rescaled,
    small_variance,
    subsequence,
)
from jaxgen.diffusion.variances import log_factor
from jaxgen.samplers import ddim, tables

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers

T = 1000
SCHEDULES = {"linear": linear(T), "squaredcos_cap_v2": cosine(T)}
MEANINGS = {"epsilon": EPSILON, "v_prediction": V}
X, OUT = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)


def tensor(a: jax.Array):
    return torch.from_numpy(np.array(a))


def exact(theirs):
    """Their scheduler with its tables in double precision: in single, 1 - alpha_bar has three digits at t = 2."""
    if theirs.config.beta_schedule == "linear":
        betas = torch.linspace(theirs.config.beta_start, theirs.config.beta_end, len(theirs.betas), dtype=torch.float64)
        assert torch.allclose(theirs.betas.double(), betas, rtol=1e-6)
        theirs.alphas_cumprod = torch.cumprod(1 - betas, 0)
    else:
        theirs.alphas_cumprod = torch.cumprod(1 - theirs.betas.double(), 0)
    return theirs


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_theirs(name: str) -> None:
    theirs = diffusers.DDPMScheduler(T, beta_schedule=name)
    np.testing.assert_allclose(SCHEDULES[name].beta[1:], theirs.betas, rtol=1e-4)  # theirs are in single precision
    np.testing.assert_allclose(SCHEDULES[name].alpha[1:] ** 2, theirs.alphas_cumprod, rtol=1e-3, atol=1e-6)
    noisy = theirs.add_noise(tensor(X), tensor(OUT), torch.tensor([99, 499]))
    ours = diffuse(X, OUT, SCHEDULES[name].level(jnp.array([100, 500])))
    np.testing.assert_allclose(ours, noisy, atol=1e-5)


@pytest.mark.parametrize("t", [1, 2, 50, 700, 950])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("meaning", MEANINGS)
@pytest.mark.parametrize(("kind", "variance"), [("fixed_small", small_variance), ("fixed_large", large_variance)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_an_ancestral_step_is_theirs(name: str, kind: str, variance, meaning: str, clip: bool, t: int) -> None:
    schedule = SCHEDULES[name]
    options = {"variance_type": kind, "prediction_type": meaning, "clip_sample": clip, "clip_sample_range": 1.0}
    theirs = exact(diffusers.DDPMScheduler(T, beta_schedule=name, **options))
    torch.manual_seed(t)
    noise = torch.randn(X.shape)
    torch.manual_seed(t)
    found = theirs.step(tensor(OUT), t - 1, tensor(X)).prev_sample
    denoise = denoiser(lambda x, time: OUT, MEANINGS[meaning], clip=(-1.0, 1.0) if clip else None)
    mean, _ = posterior(schedule, t, denoise(X, schedule.level(t)).x0, X)
    ours = mean + (0.0 if t == 1 else np.float32(np.sqrt(variance(schedule)[t]))) * jnp.array(noise.numpy())
    np.testing.assert_allclose(ours, found, rtol=1e-5, atol=2e-5)


def walk(theirs, steps: int, **options) -> np.ndarray:
    """Their whole loop, with a network that is a fixed function of x and the time."""
    theirs.set_timesteps(steps)
    x = tensor(X)
    for t in theirs.timesteps:
        x = theirs.step(torch.sin(3 * x) * torch.cos(t / 100), t, x, **options).prev_sample
    return x.numpy()


def network(x: jax.Array, time: jax.Array) -> jax.Array:
    # They count from 0.
    return jnp.sin(3 * x) * jnp.cos((time - 1) / 100)[:, None, None, None]


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_of_a_subsequence_is_theirs(name: str, steps: int, clip: bool) -> None:
    theirs = diffusers.DDIMScheduler(T, beta_schedule=name, clip_sample=clip, set_alpha_to_one=True, timestep_spacing="leading")
    chain = subsequence(SCHEDULES[name], np.arange(steps) * (T // steps) + 1)
    denoise = denoiser(network, EPSILON, clip=(-1.0, 1.0) if clip else None)
    # Theirs has the clipped x0 explain x_t only if told so.
    expected = walk(theirs, steps, use_clipped_model_output=True)
    found = jax.jit(lambda x: ddim(chain)(denoise, x, jax.random.key(0)).x)(X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("t", [201, 401, 801])
def test_a_ddim_step_with_noise_is_theirs(eta: float, t: int) -> None:
    theirs = diffusers.DDIMScheduler(T, beta_schedule="linear", clip_sample=False)
    theirs.set_timesteps(5)
    noise = normal(*X.shape, seed=5)
    with_noise = theirs.step(tensor(OUT), t - 1, tensor(X), eta=eta, variance_noise=tensor(noise)).prev_sample
    without = theirs.step(tensor(OUT), t - 1, tensor(X), eta=eta, variance_noise=tensor(0 * noise)).prev_sample
    pair = subsequence(linear(T), [t - 200, t])
    denoise = denoiser(lambda x, time: OUT, EPSILON)
    path = ddim(pair, eta=eta)(denoise, X, jax.random.key(0), trajectory=3).trajectory
    ours_noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), 0), X.shape)
    std = (with_noise - without).numpy() / np.asarray(noise)
    np.testing.assert_allclose(path[1] - std * ours_noise, without, rtol=1e-5, atol=1e-5)


def test_small_steps_of_the_chain_are_theirs_from_noise_to_data() -> None:
    # The whole ancestral loop without its noise: all means after one another.
    theirs = diffusers.DDPMScheduler(50, beta_schedule="linear", clip_sample=True)
    schedule = linear(50, first=1e-4, last=0.02)
    denoise = denoiser(network, EPSILON, clip=(-1.0, 1.0))
    x, expected = X, tensor(X)
    for t in range(50, 0, -1):
        torch.manual_seed(t)
        noise = torch.randn(X.shape)
        torch.manual_seed(t)
        expected = theirs.step(torch.sin(3 * expected) * np.cos((t - 1) / 100), t - 1, expected).prev_sample
        mean, variance = posterior(schedule, t, denoise(x, schedule.level(t)).x0, x)
        x = mean + jnp.sqrt(variance) * jnp.array(noise.numpy())
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "variance"), [("fixed_small", small_variance), ("fixed_large", large_variance)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_reverse_variances_are_theirs_but_for_step_1(name: str, kind: str, variance) -> None:
    """At step 1, where no noise is added, theirs are beta_1 and 1e-20; ours are those of the paper's code."""
    theirs = diffusers.DDPMScheduler(T, beta_schedule=name, variance_type=kind)
    expected = np.array([float(theirs._get_variance(t)) for t in range(T)])
    found = variance(SCHEDULES[name])[1:]
    np.testing.assert_allclose(found[1:], expected[1:], rtol=2e-3)
    assert found[0] == SCHEDULES[name].posterior_variance[2]
    assert expected[0] == pytest.approx({"fixed_small": 1e-20, "fixed_large": SCHEDULES[name].beta[1]}[kind], rel=1e-3)


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_rescaled_guidance_is_theirs(share: float) -> None:
    rescale_noise_cfg = pytest.importorskip("diffusers.guiders.guider_utils").rescale_noise_cfg

    guided, conditional = normal(3, 4, 4, 2, seed=1) * 2, normal(3, 4, 4, 2, seed=2)
    expected = rescale_noise_cfg(tensor(guided), tensor(conditional), guidance_rescale=share)
    at = lambda x0: lambda x, level: Prediction(x0, x0)
    found = rescaled(at(guided), at(conditional), share)(guided, linear(T).level(5)).x0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.995])
def test_the_dynamic_threshold_is_theirs(quantile: float) -> None:
    theirs = diffusers.DDPMScheduler(T, thresholding=True, dynamic_thresholding_ratio=quantile, sample_max_value=1e9)
    x0 = normal(3, 4, 4, 2, seed=3) * np.array([0.1, 1.0, 5.0], np.float32).reshape(3, 1, 1, 1)
    found = dynamic_threshold(lambda x, level: Prediction(x0, x0), quantile)(x0, linear(T).level(5)).x0
    np.testing.assert_allclose(found, theirs._threshold_sample(tensor(x0)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_guided_ddim_step_is_theirs(scale: float) -> None:
    """As their pipelines guide: the noise of both predictions, and then the step, which clips."""
    theirs = diffusers.DDIMScheduler(T, beta_schedule="linear", clip_sample=True)
    theirs.set_timesteps(5)
    c, u = normal(*X.shape, seed=6), normal(*X.shape, seed=7)
    expected = theirs.step(tensor(u + scale * (c - u)), 800, tensor(X), use_clipped_model_output=True).prev_sample
    at = lambda eps: denoiser(lambda x, time: eps, EPSILON)
    pair = subsequence(linear(T), [601, 801])
    denoise = clipped(classifier_free(at(c), at(u), scale), -1.0, 1.0)
    found = ddim(pair)(denoise, X, jax.random.key(0), trajectory=3).trajectory[1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("t", [1, 2, 50, 700, 950])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("name", SCHEDULES)
def test_an_ancestral_step_with_a_learned_variance_is_theirs(name: str, clip: bool, t: int) -> None:
    """Their channels come first; at t = 1, where no noise is added, only the means can be compared."""
    options = {"variance_type": "learned_range", "clip_sample": clip, "clip_sample_range": 1.0}
    theirs = exact(diffusers.DDPMScheduler(T, beta_schedule=name, **options))
    theirs.betas = torch.from_numpy(SCHEDULES[name].beta[1:])
    v = normal(*X.shape, seed=7)
    torch.manual_seed(t)
    noise = torch.randn(X.shape)
    torch.manual_seed(t)
    found = theirs.step(torch.cat([tensor(OUT), tensor(v)], 1), t - 1, tensor(X)).prev_sample
    both = jnp.concatenate([OUT, v], -1)  # ours come last
    prediction = denoiser(lambda x, time: both, EPSILON, clip=(-1.0, 1.0) if clip else None)(X, SCHEDULES[name].level(t))
    table = tables.ancestral(SCHEDULES[name], learned_range)
    assert table.span is not None
    mean = table.x[T - t] * X + table.data[T - t, 0] * prediction.x0
    assert prediction.v is not None
    std = jnp.sqrt(table.variance[T - t] * jnp.exp(log_factor(prediction.v, float(table.span[T - t]))))
    np.testing.assert_allclose(mean + std * jnp.array(noise.numpy()), found, rtol=1e-4, atol=2e-5)
