"""Samplers against truth: with the exact score of a law they draw from that law, the better the more steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture, wasserstein
from parameters import normal
from scipy import integrate

from jaxgen import samplers
from jaxgen.diffusion import (
    Prediction,
    cosine,
    diffuse,
    discretised,
    geometric,
    large_variance,
    linear,
    small_variance,
    spaced,
    variance_exploding,
    variance_preserving,
)

KEY = jax.random.key(0)
GAUSSIAN = Mixture((0.7,), 0.4)
MIXTURE = Mixture((-1.0, 0.5, 2.0), 0.2)
START = normal(64, 1)


def run(sampler, law: Mixture, x, key=KEY, trajectory: int = 0) -> samplers.Samples:
    return jax.jit(lambda x, key: sampler(law.denoise, x, key, trajectory=trajectory))(x, key)


def flow_map(schedule, law: Mixture, x: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Where the ODE takes x from one time to another, for a law that is one Gaussian: the quantile stays."""
    alpha, sigma = ([float(f(jnp.float32(t))) for t in (start, stop)] for f in (schedule.alpha, schedule.sigma))
    std = [np.hypot(a * law.std, s) for a, s in zip(alpha, sigma, strict=True)]
    return alpha[1] * law.means[0] + (np.asarray(x, np.float64) - alpha[0] * law.means[0]) * std[1] / std[0]


def order(errors: list[float]) -> float:
    """The slope of log error against log steps, which double."""
    return float(np.mean(np.log2(np.array(errors[:-1]) / np.array(errors[1:]))))


@pytest.mark.parametrize("schedule", [variance_preserving(), variance_exploding(0.02, 20.0)], ids=["vp", "ve"])
@pytest.mark.parametrize(("solver", "expected"), [(samplers.euler, 1), (samplers.heun, 2)])
def test_solvers_have_their_order(schedule, solver, expected: int) -> None:
    x = START * schedule.sigma(jnp.float32(1.0))
    truth = flow_map(schedule, GAUSSIAN, x, 1.0, 0.1)
    steps = [32, 64, 128]
    found = [run(solver(schedule, np.linspace(1, 0.1, n + 1)), GAUSSIAN, x).x for n in steps]
    errors = [float(np.abs(x - truth).max()) for x in found]
    assert order(errors) == pytest.approx(expected, abs=0.25), errors
    assert errors[-1] < (0.2 if expected == 1 else 0.01)


def test_ddim_converges_to_the_flow_map_with_order_one() -> None:
    schedule = variance_preserving()
    truth = flow_map(schedule, GAUSSIAN, START, 1.0, 0.01)
    errors = []
    for n in (32, 64, 128):
        chain = discretised(schedule, np.linspace(0.01, 1.0, n))
        path = run(samplers.ddim(chain), GAUSSIAN, START, trajectory=n + 1).trajectory
        errors.append(float(np.abs(path[-2] - truth).max()))  # before the step from t = 0.01 to the data
    assert order(errors) == pytest.approx(1, abs=0.2), errors
    assert errors[-1] < 0.03


def test_ddim_and_heun_converge_to_scipys_solution_for_a_mixture() -> None:
    schedule = variance_preserving()

    def slope(t: float, x: np.ndarray) -> np.ndarray:
        # The paper's form, f x - g^2 / 2 score (Song et al. 2021, equation 13), in double precision.
        beta = 0.1 + t * (20 - 0.1)
        alpha = np.exp(-0.25 * t**2 * 19.9 - 0.05 * t)
        variance = alpha**2 * MIXTURE.std**2 + 1 - alpha**2
        distance = x[:, None] - alpha * np.array(MIXTURE.means)
        shares = np.exp(-(distance**2) / (2 * variance))
        shares /= shares.sum(1, keepdims=True)
        score = -(shares * distance).sum(1) / variance
        return -0.5 * beta * x - 0.5 * beta * score

    x = START[:, 0]
    truth = integrate.solve_ivp(slope, (1.0, 0.01), np.asarray(x, np.float64), rtol=1e-9, atol=1e-10).y[:, -1]
    times = np.linspace(0.01, 1.0, 400)
    second = run(samplers.heun(schedule, times[::-1]), MIXTURE, x).x
    np.testing.assert_allclose(second, truth, atol=3e-3)
    means = []
    for n in (100, 400):
        chain = discretised(schedule, np.linspace(0.01, 1.0, n))
        path = run(samplers.ddim(chain), MIXTURE, x, trajectory=n + 1).trajectory
        means.append(np.abs(path[-2] - truth).mean())
    assert means[1] < means[0] / 2.5
    assert means[1] < 0.02


def chain_of_moments(schedule, law: Mixture, variance: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of ancestral samples from a Gaussian law: a recursion of the moments, in numpy."""
    mean, spread = 0.0, float(schedule.sigma[-1] ** 2)
    for t in range(schedule.steps, 0, -1):
        marginal = schedule.alpha[t] ** 2 * law.std**2 + schedule.sigma[t] ** 2
        gain = schedule.alpha[t] * law.std**2 / marginal
        a = schedule.posterior_xt[t] + schedule.posterior_x0[t] * gain
        b = schedule.posterior_x0[t] * (1 - gain * schedule.alpha[t]) * law.means[0]
        mean, spread = a * mean + b, a**2 * spread + (variance[t] if t > 1 else 0.0)
    return mean, np.sqrt(spread)


@pytest.mark.parametrize("variance", [small_variance, large_variance])
@pytest.mark.parametrize("steps", [4, 30])
def test_ancestral_samples_have_the_moments_of_the_chain(variance, steps: int) -> None:
    schedule = cosine(steps)
    x = samplers.noise(jax.random.key(1), (100_000, 1), schedule.level(steps))
    found = run(samplers.ancestral(schedule, variance=variance), GAUSSIAN, x).x
    mean, std = chain_of_moments(schedule, GAUSSIAN, variance(schedule))
    np.testing.assert_allclose(found.mean(), mean, atol=0.006)
    np.testing.assert_allclose(found.std(), std, atol=0.006)


@pytest.mark.parametrize("variance", [small_variance, large_variance])
def test_moments_of_the_chain_tend_to_the_laws(variance) -> None:
    errors = []
    for steps in (50, 100, 200, 400):
        schedule = linear(steps)
        mean, std = chain_of_moments(schedule, GAUSSIAN, variance(schedule))
        errors.append(float(np.hypot(mean - 0.7, std - 0.4)))  # the 2-Wasserstein distance of two Gaussians
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


@pytest.mark.parametrize(
    "make",
    [samplers.ancestral, samplers.ddim, lambda s: samplers.ddim(s, eta=0.5)],
    ids=["ancestral", "ddim", "ddim-eta"],
)
def test_samples_tend_to_a_mixture_as_steps_grow(make) -> None:
    schedule = linear(1000)
    x = samplers.noise(jax.random.key(1), (8000, 1), schedule.level(1000))
    distances = [wasserstein(run(make(spaced(schedule, n)), MIXTURE, x).x, MIXTURE) for n in (5, 20, 100)]
    assert distances[0] > 1.5 * distances[1]
    assert distances[1] > 1.5 * distances[2] or distances[1] < 0.05
    assert distances[2] < 0.05, distances


def test_annealed_langevin_draws_from_the_law_of_the_least_noise() -> None:
    schedule = geometric(8, smallest=0.1, largest=4.0)
    x = samplers.noise(jax.random.key(1), (8000, 1), schedule.level(8))
    noisy = Mixture(MIXTURE.means, float(np.hypot(MIXTURE.std, 0.1)))
    distances = []
    for steps in (2, 10, 40):
        sampler = samplers.annealed_langevin(schedule, steps=steps, step_size=2e-3, denoise_last=False)
        distances.append(wasserstein(run(sampler, MIXTURE, x).x, noisy))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.06, distances
    # Equal modes stay equal: that is what the annealing is for (Song & Ermon 2019, section 4.3).
    found = run(samplers.annealed_langevin(schedule, steps=40, step_size=2e-3), MIXTURE, x).x
    shares = [float(((found > low) & (found <= high)).mean()) for low, high in ((-9, -0.25), (-0.25, 1.25), (1.25, 9))]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)


def test_a_langevin_step_is_the_papers() -> None:
    schedule = geometric(2, smallest=0.5, largest=1.0)
    found = run(samplers.annealed_langevin(schedule, steps=1, step_size=0.1, denoise_last=False), GAUSSIAN, START).x
    x = START
    for j, (i, size) in enumerate([(2, 0.1 * 4), (1, 0.1)]):
        score = -(x - 0.7) / (0.4**2 + float(schedule.sigma[i]) ** 2)
        x = x + size / 2 * score + np.float32(np.sqrt(size)) * jax.random.normal(jax.random.fold_in(KEY, j), x.shape)
    np.testing.assert_allclose(found, x, rtol=1e-5, atol=1e-5)
    # Tweedie: the last step is the mean of the data given the state.
    last = run(samplers.annealed_langevin(schedule, steps=1, step_size=0.1), GAUSSIAN, START).x
    np.testing.assert_allclose(last, 0.7 + 0.16 / (0.16 + 0.25) * (x - 0.7), rtol=1e-4, atol=1e-5)


def test_ddim_with_eta_one_is_ancestral_with_the_small_variance() -> None:
    schedule = spaced(linear(1000), 25)
    ours = run(samplers.ddim(schedule, eta=1.0), MIXTURE, START).x
    np.testing.assert_allclose(ours, run(samplers.ancestral(schedule), MIXTURE, START).x, rtol=1e-3, atol=1e-3)
    assert np.abs(ours - run(samplers.ddim(schedule), MIXTURE, START).x).max() > 0.1


def test_ddim_with_a_denoiser_that_knows_the_data_ends_there() -> None:
    x0, schedule = 3 * normal(8, 2, seed=3), cosine(10)

    def denoise(xt, level):
        return Prediction(x0, (xt - level.alpha * x0) / level.sigma)

    xt = diffuse(x0, normal(8, 2), schedule.level(10))
    for sampler in (samplers.ddim(schedule), samplers.ddim(schedule, eta=0.7), samplers.ancestral(schedule)):
        np.testing.assert_allclose(sampler(denoise, xt, KEY).x, x0, rtol=1e-4, atol=1e-4)


ALL = {
    "ancestral": lambda n: samplers.ancestral(linear(n)),
    "ddim": lambda n: samplers.ddim(linear(n), eta=0.5),
    "langevin": lambda n: samplers.annealed_langevin(geometric(n // 2), steps=2),
    "euler": lambda n: samplers.euler(variance_preserving(), np.linspace(1, 0.01, n + 1)),
    "heun": lambda n: samplers.heun(variance_preserving(), np.linspace(1, 0.01, n + 1)),
}


@pytest.mark.parametrize("name", ALL)
def test_trajectory_is_evenly_spaced_from_the_start_to_the_samples(name: str) -> None:
    sampler = ALL[name](12)
    assert isinstance(sampler, samplers.Sampler)
    alone = run(sampler, GAUSSIAN, START)
    assert alone.trajectory is None
    every, some = run(sampler, GAUSSIAN, START, trajectory=13), run(sampler, GAUSSIAN, START, trajectory=4)
    assert every.trajectory.shape == (13, 64, 1)
    np.testing.assert_array_equal(some.trajectory[0], START)
    np.testing.assert_allclose(some.trajectory[1:3], every.trajectory[np.array([4, 8])], rtol=1e-5, atol=1e-5)
    for samples in (every, some):
        np.testing.assert_allclose(samples.x, alone.x, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(samples.trajectory[-1], samples.x)
    with pytest.raises(ValueError, match="two states"):
        sampler(GAUSSIAN.denoise, START, KEY, trajectory=1)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("trajectory", [0, 3])
def test_a_sampler_is_one_loop_whatever_its_steps(name: str, trajectory: int) -> None:
    def text(n: int) -> str:
        jaxpr = jax.make_jaxpr(lambda x, key: ALL[name](n)(GAUSSIAN.denoise, x, key, trajectory=trajectory))(START, KEY)
        return str(jaxpr)

    assert text(10).count(" = ") == text(100).count(" = ")


@pytest.mark.parametrize(("name", "random"), [("ancestral", True), ("ddim", True), ("langevin", True), ("heun", False)])
def test_keys_are_all_that_is_random(name: str, random: bool) -> None:
    sampler = ALL[name](6)
    first, again, other = (run(sampler, GAUSSIAN, START, jax.random.key(seed)).x for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (np.abs(first - other).max() > 1e-3) == random


def test_times_that_do_not_descend_are_refused() -> None:
    with pytest.raises(ValueError, match="descend"):
        samplers.euler(variance_preserving(), [0.1, 1.0])


def test_start_has_the_noise_of_its_level() -> None:
    level = geometric(4, smallest=0.1, largest=3.0).level(4)
    assert abs(samplers.noise(KEY, (50_000, 1), level).std() - 3) < 0.03
