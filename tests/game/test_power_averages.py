"""Power-function averages against their profiles in double precision, and averages of other widths against those of all
parameters of a training."""

from pathlib import Path
from typing import Any

import games
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

import jaxgen
from jaxgen.game import PowerFunction, averages
from jaxgen.game.power_averages import coefficients, exponent, inner_products, relative_width


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_the_width_is_the_deviation_of_the_profile(width: float) -> None:
    """Of the density (gamma + 1) u^gamma on [0, 1], which is Beta(gamma + 1, 1)."""
    gamma = exponent(width)
    assert stats.beta(gamma + 1, 1).std() == pytest.approx(width, rel=1e-9)
    assert relative_width(gamma) == pytest.approx(width, rel=1e-9)


@pytest.mark.parametrize("width", [0.0, -0.1, 12**-0.5, 0.3, float("nan")])
def test_a_width_outside_of_its_range_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match=r"a relative width of \S+ is not above 0 and below 0.2887"):
        PowerFunction(width)


def profile(width: float, steps: int) -> np.ndarray:
    """The weights of steps 1, 2 ... in the average: the integral of the density over each step."""
    power = exponent(width) + 1
    return np.diff((np.arange(steps + 1) / steps) ** power)


def walk(steps: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(0).normal(size=(steps, 5)), axis=0)


def running(values: np.ndarray, width: float) -> np.ndarray:
    """The average after each step, as training moves it."""
    decays = {"model": PowerFunction(width)}
    start = averages.Averages({"model": jnp.full(values.shape[1:], 100.0)}, {})

    def step(kept: Any, given: Any) -> Any:
        at, value = given
        kept = averages.moved(kept, decays, {"model": value}, {}, at)
        return kept, kept.params["model"]

    every = (jnp.arange(len(values)), jnp.asarray(values, jnp.float32))
    return np.asarray(jax.lax.scan(step, start, every)[1], np.float64)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_training_moves_the_average_of_the_profile(width: float) -> None:
    values = walk(300)
    found = running(values, width)
    for t in (1, 2, 7, 300):
        np.testing.assert_allclose(found[t - 1], profile(width, t) @ values[:t], rtol=1e-4, atol=1e-4)


def test_the_weight_is_exact_after_many_steps() -> None:
    """In float32, one less the decay would err by a percent."""
    for step in (10**5, 10**7):
        power = exponent(0.1) + 1
        expected = -np.expm1(power * np.log1p(-1 / (step + 1)))
        assert float(PowerFunction(0.1).weight(jnp.int32(step))) == pytest.approx(expected, rel=1e-5)
        assert float(PowerFunction(0.1)(jnp.int32(step))) == pytest.approx(1 - expected, abs=1e-6)


def test_inner_products_are_integrals() -> None:
    steps, widths = np.array([30.0, 100.0, 100.0]), np.array([0.1, 0.05, 0.2])
    gammas = np.array([exponent(w) for w in widths])

    def density(i: int) -> Any:
        return lambda u: (gammas[i] + 1) / steps[i] * (u / steps[i]) ** gammas[i] * (u <= steps[i])

    found = inner_products(steps, gammas, steps, gammas)
    for i in range(3):
        for j in range(3):
            end = min(steps[i], steps[j])
            expected, _ = integrate.quad(lambda u, i=i, j=j: density(i)(u) * density(j)(u), 0, end)
            assert found[i, j] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("step", "width"), [(400, 0.1), (400, 0.075), (400, 0.15), (400, 0.2), (300, 0.12)])
def test_an_average_of_another_width_is_that_of_all_parameters(step: int, width: float) -> None:
    """Averages of two widths at every 25th of 400 steps, against the sum over all of them by the exact profile."""
    values, widths, kept = walk(400), (0.05, 0.1), np.arange(25, 401, 25)
    tracked = {w: running(values, w) for w in widths}
    of, error = coefficients(np.repeat(kept, 2), np.tile(widths, len(kept)), step, width)
    found = sum(c * tracked[w][at - 1] for c, (at, w) in zip(of, [(at, w) for at in kept for w in widths], strict=True))
    expected = profile(width, step) @ values[:step]
    spread = np.abs(expected - values[step - 1]).max()
    assert error < 0.05
    assert of.sum() == pytest.approx(1)
    np.testing.assert_allclose(found, expected, atol=0.05 * spread)
    far = min(np.abs(tracked[w][step - 1] - expected).max() for w in widths) if width not in widths else np.inf
    assert far > 0.05 * spread, "none of those that were kept is as near"


def test_the_error_is_that_of_the_profile() -> None:
    """One average alone makes up no other: the distance of two densities, by integration."""
    of, error = coefficients(np.array([100]), np.array([0.05]), 100, 0.2)
    assert of.tolist() == [1.0]
    one, other = exponent(0.05), exponent(0.2)
    density = lambda g, u: (g + 1) * u**g
    distance, _ = integrate.quad(lambda u: (density(one, u) - density(other, u)) ** 2, 0, 1)
    size, _ = integrate.quad(lambda u: density(other, u) ** 2, 0, 1)
    assert error == pytest.approx((distance / size) ** 0.5, rel=1e-6)


WIDTHS = (0.05, 0.1)


def tracked(**options: Any) -> jaxgen.Experiment:
    return games.regression(**options)._replace(ema=tuple(map(PowerFunction, WIDTHS)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "widths"
    games.fit(tracked(steps=40), folder, save_every=5, keep_every=5)
    return folder


def load(run: Path, **options: Any) -> jaxgen.Run:
    return jaxgen.load(run, experiment=tracked, **options)


def same(a: Any, b: Any, **how: float) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **{"rtol": 1e-5, "atol": 1e-6} | how), a, b)


def test_a_kept_width_is_the_kept_average(run: Path) -> None:
    for place, width in enumerate(WIDTHS):
        same(load(run, sigma_rel=width).network()[1], load(run, ema=place).network()[1])


def test_another_width_is_the_sum_over_the_checkpoints_up_to_the_step(run: Path) -> None:
    made = load(run, sigma_rel=0.08, step=30)
    steps = [5, 10, 15, 20, 25, 30]
    kept = [(step, place) for step in steps for place in (0, 1)]
    of, _ = coefficients(np.array([s for s, _ in kept]), np.array([WIDTHS[p] for _, p in kept]), 30, 0.08)
    parts = [load(run, step=step, ema=place).network()[1] for step, place in kept]
    expected = jax.tree.map(lambda *xs: sum(c * np.asarray(x, np.float64) for c, x in zip(of, xs, strict=True)), *parts)
    same(made.network()[1], expected)
    assert made.position == 30
    assert made.evaluate() != load(run, step=30).evaluate()


def test_it_is_named_in_the_protocol(run: Path) -> None:
    assert load(run, sigma_rel=0.08)._of_average("best") == "best, average of relative width 0.08"


def test_what_cannot_be_made_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(jaxgen.UserError, match=r"--sigma-rel is 0\.3; give a width above 0 and below 0\.2887"):
        load(run, sigma_rel=0.3)
    with pytest.raises(jaxgen.UserError, match=r"ema=1 and sigma_rel=0\.1 name an average each; give one of them"):
        load(run, ema=1, sigma_rel=0.1)
    with pytest.raises(
        jaxgen.UserError, match=r"the widths 0\.05 and 0\.1 at step 5 make up one of 0\.25 with an error of \d+%"
    ):
        load(run, step=5, sigma_rel=0.25)
    games.fit(games.regression(ema=0.9, steps=2), tmp_path)
    with pytest.raises(jaxgen.UserError, match="this run kept none; train one with --ema-widths and --keep-every"):
        jaxgen.load(tmp_path, experiment=games.regression, sigma_rel=0.1)
