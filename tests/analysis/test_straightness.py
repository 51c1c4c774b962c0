"""Straightness of a flow's paths, where they are known: Gaussian data, and straight lines."""

import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_mixtures import Mixture

from jaxgen import diffusion
from jaxgen.analysis.straightness import straightness
from jaxgen.diffusion import Level, Prediction

PATH = diffusion.linear_path()


def by_velocity(velocity):
    """A denoiser whose ODE on the path has this velocity `(x, t)`."""

    def denoise(x, level: Level) -> Prediction:
        t = level.time
        v = velocity(x, t)
        return Prediction(x - t * v, x + (1 - t) * v)

    return denoise


Z = np.random.default_rng(0).normal(size=(300, 2, 2, 1)).astype(np.float32)


def test_the_paths_of_gaussian_data() -> None:
    r"""They are $(1 - t) m + s(t) z$ with $s^2 = (1 - t)^2 c^2 + t^2$; the chord's speed is 1 - c."""
    m, c = 0.4, 0.3
    found = straightness(PATH, Mixture((m,), c).denoise, jnp.asarray(Z), 2000)
    t = np.linspace(0, 1, 20_001)
    speed = (t - (1 - t) * c**2) / np.sqrt((1 - t) ** 2 * c**2 + t**2)
    squared = (Z.astype(np.float64) ** 2).mean((1, 2, 3))
    expected = (np.trapezoid(speed**2, t) - (1 - c) ** 2) * squared
    np.testing.assert_allclose(found.straightness, expected, rtol=5e-3)
    np.testing.assert_allclose(found.cost, ((Z - (m + c * Z)) ** 2).mean((1, 2, 3)), rtol=5e-3, atol=1e-4)


def test_lines_are_straight_at_any_number_of_steps() -> None:
    m, c = 0.4, 0.3
    rectified = lambda x, t: (x - (1 - t) * m) / ((1 - t) * c + t) * (1 - c) - m
    for steps in (1, 3, 20):
        found = straightness(PATH, by_velocity(rectified), jnp.asarray(Z), steps)
        np.testing.assert_allclose(found.straightness, 0, atol=1e-6)
        np.testing.assert_allclose(found.cost, ((Z - (m + c * Z)) ** 2).mean((1, 2, 3)), rtol=1e-4)


def test_the_mean_squared_distance_from_the_chord() -> None:
    """A velocity of t and nothing else: Euler's four are 1, 3/4, 1/2 and 1/4, whatever is there."""
    found = straightness(PATH, by_velocity(lambda x, t: t + 0 * x), jnp.asarray(Z), 4)
    speeds = np.array([1, 0.75, 0.5, 0.25])
    assert float(found.straightness[0]) == pytest.approx(speeds.var(), rel=1e-5)
    assert float(found.cost[0]) == pytest.approx(speeds.mean() ** 2, rel=1e-5)
