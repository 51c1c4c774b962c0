"""Tables of samplers: orders of convergence in double precision, identities between methods, and laws of Gaussians."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture, UnequalMixture

from jaxgen import samplers
from jaxgen.diffusion import (
    Continuous,
    Discrete,
    Prediction,
    analytic_variance,
    data_covariance,
    discretised,
    from_betas,
    geometric,
    grids,
    large_variance,
    linear,
    linear_path,
    small_variance,
    spaced,
    sub_variance_preserving,
    subsequence,
    time_is_sigma,
    variance_preserving,
)
from jaxgen.errors import InputError
from jaxgen.samplers import march, tables

KEY = jax.random.key(0)
LAW = UnequalMixture((0.3, 0.7), (-0.6, 0.5), (0.15, 0.25))
BETWEEN = time_is_sigma(0.02, 20.0)
CHAINS = {"linear": linear(40), "geometric": geometric(6), "flow": discretised(linear_path(), np.linspace(1, 0, 21))}


def before_the_data(sampler: samplers.Sampler, steps: int) -> np.ndarray:
    """The last state with noise, from 200 starts, in double precision."""
    x = jnp.asarray(20 * np.random.default_rng(0).normal(size=200))
    return np.asarray(jax.jit(lambda x: sampler(LAW.denoise, x, KEY, trajectory=steps + 2).trajectory[-2])(x))


def between(steps: int) -> Discrete:
    return discretised(BETWEEN, grids.karras(BETWEEN, steps + 1))


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Two runs of Heun's method, whose errors of second order cancel."""
    with jax.enable_x64(True):
        coarse, fine = (before_the_data(samplers.heun_in_noise(between(n)), n) for n in (2000, 4000))
        return (4 * fine - coarse) / 3


def predictor(order: int) -> Callable[[Discrete], samplers.Sampler]:
    return lambda chain: march(tables.unipc(chain, order=order)[0])


def unipc(order: int) -> Callable[[Discrete], samplers.Sampler]:
    return lambda chain: samplers.unipc(chain, order=order)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (samplers.ddim, [4.8e-2, 2.5e-2, 1.3e-2, 6.3e-3, 3.2e-3]),
        (samplers.heun_in_noise, [6.5e-3, 1.6e-3, 4.0e-4, 1.0e-4, 2.5e-5]),
        (samplers.dpm_solver_pp, [7.2e-3, 1.6e-3, 3.9e-4, 9.7e-5, 2.4e-5]),
        (predictor(1), [4.8e-2, 2.5e-2, 1.3e-2, 6.3e-3, 3.2e-3]),
        (predictor(2), [7.2e-3, 1.6e-3, 3.9e-4, 9.7e-5, 2.4e-5]),
        (unipc(1), [8.7e-5]),
        (unipc(2), [1.0e-6]),
        (unipc(3), [4.3e-8]),
    ],
    ids=["ddim", "heun", "dpm++2m", "unip1", "unip2", "unipc1", "unipc2", "unipc3"],
)
def test_errors_are_those_of_an_independent_computation(
    make: Callable[[Discrete], samplers.Sampler], expected: list[float], truth: np.ndarray
) -> None:
    """To the two digits of the same methods, grid and mixture written in numpy; they fall by 2, 4, 8 as the steps double."""
    with jax.enable_x64(True):
        for n, error in zip((320, 160, 80, 40, 20), expected[::-1], strict=False):
            found = np.sqrt(((before_the_data(make(between(n)), n) - truth) ** 2).mean())
            assert found == pytest.approx(error, rel=0.1 if error < 2e-6 else 0.05), n


@pytest.mark.parametrize("name", CHAINS)
def test_methods_that_are_one(name: str) -> None:
    chain = CHAINS[name]
    usable = slice(1, None) if name == "flow" else slice(None)  # where lambda is finite

    def same(one: tables.Table, other: tables.Table, rows: slice = slice(None)) -> None:
        for a, b in zip(one[1:4], other[1:4], strict=True):
            np.testing.assert_allclose(a[rows], b[rows], rtol=1e-9, atol=1e-12)

    same(tables.ddim(chain), tables.dpm_solver_pp(chain, order=1))
    same(tables.ddim(chain, 1.0), tables.ancestral(chain, lambda chain: chain.posterior_variance))
    same(tables.dpm_solver_pp(chain, order=1, stochastic=True), tables.ddim(chain, 1.0), usable)
    same(tables.ddim(chain), tables.unipc(chain, order=1)[0])
    two = tables.dpm_solver_pp(chain), tables.unipc(chain, order=2)[0]
    np.testing.assert_allclose(two[0].data.sum(1), two[1].data.sum(1), rtol=1e-9)


@pytest.mark.parametrize("name", CHAINS)
def test_every_row_keeps_what_it_is_told_is_the_data(name: str) -> None:
    """Where the prediction is x_0, a step goes from q(x_r | x_0) to q(x_s | x_0): its mean and, but at the end, variance."""
    chain = CHAINS[name]
    stochastic = tables.dpm_solver_pp(chain, stochastic=True)
    every = [
        tables.ddim(chain),
        tables.ancestral(chain),
        tables.dpm_solver_pp(chain),
        stochastic,
        tables.unipc(chain, order=3)[0],
    ]
    for table in every:
        np.testing.assert_allclose(table.x * chain.alpha[:0:-1] + table.data.sum(1), chain.alpha[-2::-1], rtol=1e-9)
        spread = table.x**2 * chain.sigma[:0:-1] ** 2 + table.variance
        np.testing.assert_allclose(spread[:-1], chain.sigma[-2:0:-1] ** 2, rtol=1e-9)


def test_a_table_in_single_precision_ends_where_double_does() -> None:
    chain = linear(1000)
    x = np.random.default_rng(1).normal(size=(50, 1))
    found = jax.jit(lambda x: samplers.ddim(chain)(LAW.denoise, x, KEY).x)(jnp.asarray(x, jnp.float32))
    with jax.enable_x64(True):
        exact = jax.jit(lambda x: samplers.ddim(chain)(LAW.denoise, x, KEY).x)(jnp.asarray(x))
    # Of them 2e-6 are the tables' (in numpy); the rest is the denoiser's in single precision.
    np.testing.assert_allclose(found, exact, atol=2e-5)


@pytest.mark.parametrize(("schedule", "sub"), [(variance_preserving(), False), (sub_variance_preserving(), True)])
def test_euler_maruyama_is_the_papers_step(schedule: Continuous, sub: bool) -> None:
    times = np.linspace(1.0, 1e-2, 30)
    found = tables.euler_maruyama(schedule, times)
    t, s = times[:-1], times[1:]
    beta, total = 0.1 + 19.9 * t, 0.1 * t + 9.95 * t**2
    sub = (
        schedule.sigma(jnp.float32(1.0)) < schedule.sigma(jnp.float32(1.0)) ** 0.5
        and float(schedule.sigma(jnp.float32(0.1))) < 0.15
    )
    g2 = beta * (1 - np.exp(-2 * total)) if sub else beta
    sigma = 1 - np.exp(-total) if sub else np.sqrt(1 - np.exp(-total))
    h = t - s
    # x - h (f x - g^2 score) with f = -beta / 2 and score = -(x - alpha x0) / sigma^2.
    np.testing.assert_allclose(found.x[:-1], 1 + h * beta / 2 - h * g2 / sigma**2, rtol=1e-6)
    np.testing.assert_allclose(found.data[:-1, 0], h * g2 * np.exp(-total / 2) / sigma**2, rtol=1e-6)
    np.testing.assert_allclose(found.variance[:-2], (h * g2)[:-1], rtol=1e-6)
    assert (found.x[-1], found.data[-1, 0], found.variance[-1], found.variance[-2]) == (0, 1, 0, 0)


def test_reverse_diffusion_is_the_papers_step() -> None:
    """Song et al. 2021, equation 47: x_i = (2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z of the linear chain."""
    chain = linear(20)
    found, x = tables.reverse_diffusion(chain), np.array([0.3, -1.2])
    for j in range(20):
        t = 20 - j
        beta = np.linspace(0.1 / 20, 0.999, 20)[t - 1]
        score = -(x - chain.alpha[t] * 0.7) / chain.sigma[t] ** 2
        expected = (2 - np.sqrt(1 - beta)) * x + beta * score
        np.testing.assert_allclose(found.x[j] * x + found.data[j, 0] * 0.7, expected, rtol=1e-9)
        np.testing.assert_allclose(found.variance[j], beta if t > 1 else 0.0)


BETAS = np.linspace(0.01, 0.3, 10)
C2 = 0.37


def power_of(chain: Discrete) -> np.ndarray:
    """Of N(0, c^2) data: the predicted noise is sigma x / S^2, of power sigma^2 / S^2."""
    return np.append(1.0, chain.sigma[1:] ** 2 / (chain.alpha[1:] ** 2 * C2 + chain.sigma[1:] ** 2))


def spread(table: tables.Table, chain: Discrete, start: float) -> np.ndarray:
    """The variances of the states of a walk over Gaussian data: a recursion."""
    found = [start]
    for j in range(len(table.x)):
        t = chain.steps - j
        gain = chain.alpha[t] * C2 / (chain.alpha[t] ** 2 * C2 + chain.sigma[t] ** 2)
        found.append((table.x[j] + table.data[j, 0] * gain) ** 2 * found[-1] + table.variance[j])
    return np.array(found)


@pytest.mark.parametrize(
    ("variance", "expected"), [("analytic", 0.4471), ("small", 0.2336), ("large", 0.6561)], ids=["analytic", "small", "large"]
)
def test_the_analytic_variance_stays_on_the_marginals(variance: str, expected: float) -> None:
    long = from_betas(BETAS)
    chain = subsequence(long, [3, 7, 10])
    marginals = chain.alpha**2 * C2 + chain.sigma**2
    assert marginals[1] == pytest.approx(0.4471, abs=5e-5)
    of = {"analytic": analytic_variance(long, power_of(long)), "small": small_variance, "large": large_variance}[variance]
    found = spread(tables.ancestral(chain, of), chain, marginals[3])
    assert found[2] == pytest.approx(expected, abs=5e-5)  # before the last step, which has no noise


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [[10], [2, 3, 10], [1, 4, 7, 9, 10], list(range(1, 11))], ids=len)
def test_so_does_every_walk_of_any_length(eta: float, steps: list[int]) -> None:
    long = from_betas(BETAS)
    chain = subsequence(long, steps)
    marginals = chain.alpha**2 * C2 + chain.sigma**2
    covariance = data_covariance(chain, power_of(chain))
    np.testing.assert_allclose(covariance, chain.sigma**2 * C2 / marginals, rtol=1e-9)
    table = tables.with_covariance(tables.ddim(chain, eta), covariance)
    np.testing.assert_allclose(spread(table, chain, marginals[-1])[:-1], marginals[:0:-1], rtol=1e-9)


def test_an_analytic_variance_on_the_device_is_that_on_the_host() -> None:
    """Within a compiled sampler the power of the predicted noise is a traced array."""
    long = linear(50)
    chain = spaced(long, 10)
    on_host = analytic_variance(long, power_of(long))(chain)
    traced = jax.jit(lambda power: analytic_variance(long, power)(chain))(jnp.asarray(power_of(long), jnp.float32))
    np.testing.assert_allclose(traced, on_host, rtol=1e-3, atol=1e-6)
    gaussian = Mixture((0.0,), float(np.sqrt(C2)))

    def draw(power: Any) -> Any:
        x = chain.sigma[-1] * jax.random.normal(KEY, (20_000, 1))
        path = samplers.ancestral(chain, variance=analytic_variance(long, power))(gaussian.denoise, x, KEY, trajectory=11)
        return path.trajectory[-2].std()

    expected = np.sqrt(chain.alpha[1] ** 2 * C2 + chain.sigma[1] ** 2)
    assert float(jax.jit(draw)(jnp.asarray(power_of(long), jnp.float32))) == pytest.approx(expected, rel=0.02)


def test_what_no_table_can_be_is_refused() -> None:
    chain = linear(10)
    with pytest.raises(InputError, match="no analytic variance"):
        tables.with_covariance(tables.dpm_solver_pp(chain), np.ones(11))
    with pytest.raises(InputError, match="order 1 or 2"):
        tables.dpm_solver_pp(chain, order=3)
    with pytest.raises(InputError, match="order 1, 2 or 3"):
        tables.unipc(chain, order=4)
    with pytest.raises(InputError, match="drift is infinite"):
        tables.euler_maruyama(linear_path(), np.linspace(1, 0.1, 5))
    with pytest.raises(InputError, match="not known at a step"):
        analytic_variance(linear(50), np.ones(51))(linear(10))


def test_new_noise_is_drawn_with_the_steps_own_key_and_only_where_there_is_any() -> None:
    chain = geometric(3, smallest=0.5, largest=2.0)

    def nothing(x: jax.Array, level: Any) -> Prediction:
        return Prediction(jnp.zeros_like(x), x / level.sigma)

    x = jnp.zeros((4, 1))
    found = march(tables.ancestral(chain))(nothing, x, KEY, trajectory=4).trajectory
    z = jax.random.normal(jax.random.fold_in(KEY, 0), x.shape)
    np.testing.assert_allclose(found[1], np.sqrt(small_variance(chain)[3]) * z, rtol=1e-5)
    text = str(jax.make_jaxpr(lambda x: march(tables.ddim(chain))(nothing, x, KEY).x)(x))
    assert "random" not in text.replace("random_wrap", "")
