"""Guidance against exact scores of labelled mixtures, and limits by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture
from parameters import normal

from jaxgen import samplers
from jaxgen.diffusion import (
    Denoise,
    Level,
    Prediction,
    autoguided,
    classifier,
    classifier_free,
    clipped,
    cosine,
    discretised,
    dynamic_threshold,
    expand,
    geometric,
    large_variance,
    linear,
    posterior,
    rescaled,
    small_variance,
    spaced,
    time_is_sigma,
)
from jaxgen.diffusion.grids import karras

MEANS = (-1.0, 0.4, 1.5)
STD = 0.3
LAW = Mixture(MEANS, STD)
SCHEDULE = cosine(20)
X = 2 * normal(5, 3)


def of_class(c: int) -> Mixture:
    return Mixture((MEANS[c],), STD)


def log_density(means: tuple[float, ...], x: Any, level: Level) -> Any:
    """log q(x_t) of equally likely Gaussians, up to a constant."""
    variance = level.alpha**2 * STD**2 + level.sigma**2
    return jax.nn.logsumexp(jnp.stack([-((x - level.alpha * m) ** 2) / (2 * variance) for m in means]), axis=0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0, 7.5])
@pytest.mark.parametrize("t", [1, 9, 20])
def test_the_score_is_that_of_the_law_times_a_power_of_the_posterior(scale: float, t: int) -> None:
    """The gradient of log p(x_t) + s log p(c | x_t) of a labelled mixture, by autodiff of its densities."""
    level, c = SCHEDULE.level(t), 2

    def tilted(x: Any) -> Any:
        everything, own = log_density(MEANS, x, level), log_density(MEANS[c : c + 1], x, level)
        return (everything + scale * (own - everything)).sum()

    guided = classifier_free(of_class(c).denoise, LAW.denoise, scale)(X, level)
    np.testing.assert_allclose(-guided.eps / level.sigma, jax.grad(tilted)(X), rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(level.alpha * guided.x0 + level.sigma * guided.eps, X, atol=2e-5)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_without_guidance_it_is_one_of_the_two(scale: float) -> None:
    level = SCHEDULE.level(7)
    found = classifier_free(of_class(1).denoise, LAW.denoise, scale)(X, level)
    expected = (of_class(1) if scale else LAW).denoise(X, level)
    np.testing.assert_allclose(found.x0, expected.x0, atol=1e-6)
    np.testing.assert_allclose(found.eps, expected.eps, atol=1e-6)


def test_samples_are_of_the_class_and_the_more_guided_the_further_from_the_others() -> None:
    """The tilted law has less mass where another class is likely, so its mean moves away from the middle class."""
    chain = spaced(cosine(1000), 200)
    start = samplers.noise(jax.random.key(0), (4000, 1), chain.level(chain.steps))
    means = []
    for scale in (1.0, 2.0, 4.0):
        denoise = classifier_free(of_class(2).denoise, LAW.denoise, scale)
        x = jax.jit(lambda x, d=denoise: samplers.ancestral(chain)(d, x, jax.random.key(1)).x)(start)
        means.append(float(x.mean()))
    assert means[0] == pytest.approx(MEANS[2], abs=0.03)
    assert means[0] < means[1] < means[2]


@pytest.mark.parametrize("schedule", [linear(30), cosine(30), geometric(30)], ids=["linear", "cosine", "geometric"])
def test_the_interval_is_of_the_noise_relative_to_the_signal(schedule: Any) -> None:
    ratio = np.asarray(schedule.sigma / schedule.alpha)[1:]
    low, high = float(np.quantile(ratio, 0.3)), float(np.quantile(ratio, 0.7))
    at = lambda value: lambda x, level: Prediction(value + 0 * x, -value + 0 * x)
    guided = classifier_free(at(1.0), at(0.0), 3.0, interval=(low, high))
    found = np.array([guided(X, schedule.level(t)).x0[0, 0] for t in range(1, 31)])
    np.testing.assert_allclose(found, np.where((ratio >= low) & (ratio <= high), 3.0, 1.0))
    each = guided(X[:3], schedule.level(jnp.array([1, 15, 30])))
    np.testing.assert_allclose(each.x0[:, 0], found[[0, 14, 29]])
    np.testing.assert_allclose(each.eps, -each.x0)


def posterior_of(c: int) -> Any:
    """The exact log p(c | x_t) of the mixture, summed over the numbers of an example."""

    def log_prob(x: Any, level: Level) -> Any:
        at = Level(*(expand(a, x) for a in level))
        return (log_density(MEANS[c : c + 1], x, at) - log_density(MEANS, x, at) - np.log(len(MEANS))).sum(-1)

    return log_prob


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("schedule", [SCHEDULE, geometric(20)], ids=["preserving", "exploding"])
def test_an_exact_classifier_guides_as_the_exact_conditional_model_does(schedule: Any, scale: float) -> None:
    """The score of p(x_t) plus that of p(c | x_t) is the score of p(x_t | c), at each example's own level."""
    level = schedule.level(jnp.array([1, 4, 9, 15, 20]))
    found = classifier(LAW.denoise, posterior_of(2), scale)(X, level)
    expected = classifier_free(of_class(2).denoise, LAW.denoise, scale)(X, level)
    np.testing.assert_allclose(found.eps, expected.eps, rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(found.x0, expected.x0, rtol=1e-3, atol=2e-3)
    alpha, sigma = (a[:, None] for a in level[1:])
    np.testing.assert_allclose(alpha * found.x0 + sigma * found.eps, X, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm_solver_pp", "unipc"])
def test_every_sampler_draws_from_the_class_that_an_exact_classifier_knows(sampler: Any) -> None:
    chain = spaced(cosine(1000), 100)
    start = samplers.noise(jax.random.key(0), (4000, 1), chain.level(chain.steps))
    denoise = classifier(LAW.denoise, posterior_of(0), 1.0)
    x = jax.jit(lambda x: samplers.ON_CHAIN[sampler](chain)(denoise, x, jax.random.key(1)).x)(start)
    assert float(x.mean()) == pytest.approx(MEANS[0], abs=0.03)
    assert float(x.std()) == pytest.approx(STD, abs=0.03)


def test_it_is_the_shift_of_the_authors_condition_score() -> None:
    """In numpy: eps less sqrt(1 - alpha_bar) s times the gradient of log p(y | x_t), the image that this explains, the mean."""
    betas = np.linspace(1e-4, 0.02, 1000)
    bar = np.cumprod(1 - betas)
    weights = np.asarray(normal(5, 4, 3, seed=2), np.float64)
    label, scale, t = np.array([0, 1, 2, 3, 0]), 2.5, np.array([0, 10, 400, 700, 999])
    x = np.asarray(X, np.float64)

    def log_prob(xt: Any, level: Level) -> Any:
        logits = jnp.einsum("bkd,bd->bk", jnp.float32(weights), xt)
        return jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(label)[:, None], 1)[:, 0]

    p = np.exp(np.einsum("bkd,bd->bk", weights, x))
    p /= p.sum(1, keepdims=True)
    gradient = np.einsum("bk,bkd->bd", np.eye(4)[label] - p, weights)
    a, before = bar[t][:, None], np.append(1.0, bar)[t][:, None]
    clean = np.full((5, 3), 0.3)  # predicted and clipped
    eps = (x - np.sqrt(a) * clean) / np.sqrt(1 - a) - np.sqrt(1 - a) * scale * gradient
    x0 = (x - np.sqrt(1 - a) * eps) / np.sqrt(a)
    beta = betas[t][:, None]
    mean = (beta * np.sqrt(before) * x0 + (1 - before) * np.sqrt(1 - beta) * x) / (1 - a)

    schedule = linear(1000)
    found = classifier(fixed(clean.astype(np.float32)), log_prob, scale)(X, schedule.level(jnp.asarray(t + 1)))
    np.testing.assert_allclose(found.eps, eps, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(found.x0, x0, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(posterior(schedule, jnp.asarray(t + 1), found.x0, X)[0], mean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps", [20, 1000])
def test_an_ancestral_step_moves_as_algorithm_1_says_up_to_what_the_docstring_says(steps: int) -> None:
    """Algorithm 1 (`condition_mean`) moves the mean by s times the step's variance times the gradient."""
    chain, scale, t = linear(steps), 2.0, jnp.arange(1, steps + 1)
    x = jnp.zeros((steps, 1))
    denoise = classifier(fixed(x), lambda x, level: 3.0 * x[:, 0], scale)
    moved = np.asarray(posterior(chain, t, denoise(x, chain.level(t)).x0, x)[0])[:, 0]
    np.testing.assert_allclose(moved, scale * chain.beta[1:] / chain.scale[1:] * 3.0, rtol=1e-4)
    with_large = scale * large_variance(chain)[2:] * 3.0  # the first is another one, as in the papers
    np.testing.assert_allclose(with_large / moved[1:], chain.scale[2:], rtol=1e-4)
    with_small = scale * small_variance(chain)[2:] * 3.0
    kept = (chain.sigma[1:-1] / chain.sigma[2:]) ** 2
    np.testing.assert_allclose(with_small / moved[1:], chain.scale[2:] * kept, rtol=1e-4)
    if steps == 1000:
        assert np.abs(with_large / moved[1:] - 1).max() < 0.011


def fixed(x0: Any) -> Denoise:
    """A denoiser whose prediction of the data is this."""
    return lambda xt, level: Prediction(jnp.asarray(x0), (xt - expand(level.alpha, xt) * x0) / expand(level.sigma, xt))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 7])
def test_rescaling_brings_the_deviation_of_each_example_back_in_part(share: float, seed: int) -> None:
    guided, c = 3 * normal(4, 6, seed=seed), normal(4, 6, seed=seed + 1)
    level = SCHEDULE.level(5)
    found = rescaled(fixed(guided), fixed(c), share)(normal(4, 6), level)
    of = lambda x: np.asarray(x).std(1)
    np.testing.assert_allclose(of(found.x0), share * of(c) + (1 - share) * of(guided), rtol=1e-4)
    np.testing.assert_allclose(found.x0 / guided, (found.x0 / guided)[:, :1].repeat(6, 1), rtol=1e-4)


def test_an_image_of_one_grey_is_not_rescaled_to_nan() -> None:
    found = rescaled(fixed(jnp.zeros((2, 3))), fixed(normal(2, 3)), 0.7)(normal(2, 3), SCHEDULE.level(5))
    np.testing.assert_array_equal(found.x0, 0)


def test_a_dynamic_threshold_by_hand() -> None:
    x0 = np.array([[0.5, -0.5, 0.25, 0.0, 1.0], [4.0, -2.0, 1.0, 0.0, -8.0]], np.float32)
    found = dynamic_threshold(fixed(x0), 0.75)(normal(2, 5), SCHEDULE.level(5))
    # 0.75 of five numbers in order is the fourth: 0.5 of the first image, which is within the range, and 4 of the second.
    np.testing.assert_allclose(found.x0, [x0[0], [1, -0.5, 0.25, 0, -1]], rtol=1e-6)


@pytest.mark.parametrize(
    "limit", [lambda d: clipped(d, -1.0, 1.0), dynamic_threshold, lambda d: rescaled(d, fixed(3 * X), 0.7)]
)
def test_the_noise_is_what_then_explains_the_noisy_data(limit: Any) -> None:
    level = SCHEDULE.level(jnp.array([1, 3, 9, 15, 20]))
    x0, eps, _ = limit(fixed(3 * normal(5, 3)))(X, level)
    np.testing.assert_allclose(level.alpha[:, None] * x0 + level.sigma[:, None] * eps, X, atol=1e-4)


def test_clipping_comes_after_guidance() -> None:
    """The two in the other order are another function: both predictions are within the range, and the guided one is not."""
    c, u, level = fixed(0.9 + 0 * X), fixed(-0.9 + 0 * X), SCHEDULE.level(9)
    np.testing.assert_allclose(clipped(classifier_free(c, u, 3.0), -1, 1)(X, level).x0, 1.0)
    np.testing.assert_allclose(classifier_free(clipped(c, -1, 1), clipped(u, -1, 1), 3.0)(X, level).x0, 4.5, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.1])
def test_autoguidance_goes_from_the_weak_model_through_the_strong_one(scale: float) -> None:
    """`ref_Dx.lerp(Dx, guidance)`, and in terms of the noise the same."""
    strong, weak, level = LAW, Mixture(MEANS, 2 * STD), SCHEDULE.level(9)
    found = autoguided(strong.denoise, weak.denoise, scale)(X, level)
    for name in ("x0", "eps"):
        one, other = (np.asarray(getattr(law.denoise(X, level), name), np.float64) for law in (strong, weak))
        np.testing.assert_allclose(getattr(found, name), other + scale * (one - other), rtol=1e-5, atol=1e-6)
    at_all = autoguided(strong.denoise, weak.denoise, scale, interval=(10.0, 20.0))(X, level)
    np.testing.assert_allclose(at_all.x0, strong.denoise(X, level).x0, rtol=1e-5)


def test_the_strong_model_alone_is_not_evaluated_beside_the_weak_one() -> None:
    assert autoguided(LAW.denoise, no_call, 1.0)(X, SCHEDULE.level(9)).x0.shape == X.shape


def no_call(x: Any, level: Level) -> Prediction:
    raise AssertionError


def branches() -> np.ndarray:
    """Points of a plane along a tree that branches five times, as the paper's toy."""
    points: list[np.ndarray] = []

    def grow(at: np.ndarray, angle: float, depth: int) -> None:
        direction, length = np.array([np.cos(angle), np.sin(angle)]), 0.8**depth
        points.extend(at + direction * length * share for share in np.linspace(0.1, 1.0, 6))
        if depth < 4:
            for sign in (1, -1):
                grow(at + direction * length, angle + 0.7 * sign * 0.8**depth, depth + 1)

    grow(np.zeros(2), np.pi / 4, 0)
    return np.array(points)


def test_guided_samples_leave_fewer_outliers_and_no_branch() -> None:
    """The exact denoiser of data with a little noise stands for the strong model, and that of data with more for the weak one.

    A point is an outlier if the law of the data has less density there than at 99.5 % of its own points."""
    centres, std = branches(), 0.02

    def log_prob(x: Any, own: Any) -> Any:
        squares = ((x[:, None] - centres) ** 2).sum(-1)
        return jax.nn.logsumexp(-squares / (2 * own**2), axis=-1)

    def denoiser(widened: float) -> Denoise:
        def denoise(x: Any, level: Level) -> Prediction:
            variance = std**2 + widened**2 + level.sigma**2
            squares = ((x[:, None] - centres) ** 2).sum(-1)
            shares = jax.nn.softmax(-squares / (2 * variance), axis=-1)
            eps = (x - shares @ centres) * level.sigma / variance
            return Prediction(x - level.sigma * eps, eps)

        return denoise

    rng, n = np.random.default_rng(0), 4000
    truth = centres[rng.integers(0, len(centres), n)] + std * rng.normal(size=(n, 2))
    bound = np.quantile(log_prob(truth, std), 0.005)
    noise = time_is_sigma(0.002, 5.0)
    chain = discretised(noise, karras(noise, 32))
    start = samplers.noise(jax.random.key(0), (n, 2), chain.level(32))

    @jax.jit
    def drawn(scale: Any) -> Any:
        guided = autoguided(denoiser(0.03), denoiser(0.09), scale)
        return samplers.heun_in_noise(chain)(guided, start, jax.random.key(1)).x

    shares, branches_left = [], []
    for scale in (1.0, 2.0):
        x = np.asarray(drawn(jnp.float32(scale)), np.float64)
        shares.append(float((np.asarray(log_prob(x, std)) < bound).mean()))
        nearest = ((x[:, None] - centres) ** 2).sum(-1).argmin(-1)
        branches_left.append(len(np.unique(nearest)))
    assert shares[0] > 0.05
    assert shares[1] < 0.3 * shares[0]
    assert branches_left[1] >= 0.95 * len(centres)
