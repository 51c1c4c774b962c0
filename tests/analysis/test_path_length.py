"""Lengths of paths against closed forms, in float32 with the paper's step; and the mean between percentiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.analysis.path_length import along_line, along_sphere, path_lengths, trimmed_mean

START, STOP = normal(6, 5), normal(6, 5, seed=1)
T = jnp.linspace(0.0, 1.0, 6)


def test_a_linear_generator_has_the_squared_length_of_its_image() -> None:
    """G(w) = A w + b has |A (w_1 - w_0)|^2 on every place of a line, with any step."""
    a, b = normal(5, 9, seed=2), normal(9, seed=3)
    expected = np.square(np.asarray(STOP - START, np.float64) @ np.asarray(a, np.float64)).sum(-1)
    for epsilon, rtol in ((1e-4, 2e-2), (0.1, 1e-4)):
        found = path_lengths(lambda w: w @ a + b, along_line, START, STOP, T, epsilon=epsilon)
        np.testing.assert_allclose(found, expected, rtol=rtol)


def test_a_great_circle_has_its_angle() -> None:
    """Along a sphere the point moves by the angle between the ends; the identity's length is its square."""
    a, b = (np.asarray(x, np.float64) / np.linalg.norm(x, axis=-1, keepdims=True) for x in (START, STOP))
    angle = np.arccos((a * b).sum(-1))
    np.testing.assert_allclose(path_lengths(lambda z: z, along_sphere, START, STOP, T, epsilon=1e-3), angle**2, rtol=1e-2)
    for t, end in ((0.0, a), (1.0, b)):
        np.testing.assert_allclose(along_sphere(START, STOP, jnp.full((6, 1), t)), end, atol=1e-6)
    middle = np.asarray(along_sphere(START, STOP, jnp.full((6, 1), 0.3)))
    np.testing.assert_allclose(np.linalg.norm(middle, axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.arccos((middle * a).sum(-1)), 0.3 * angle, rtol=1e-3)


def test_latents_that_are_equal_or_parallel_have_a_length() -> None:
    found = path_lengths(lambda z: z, along_sphere, START, jnp.concatenate([START[:3], -START[3:]]), T)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:3], 0.0, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 37, 1000])
def test_the_mean_is_of_what_lies_between_the_percentiles(n: int) -> None:
    lengths = np.random.default_rng(0).exponential(size=n)
    mean, stderr = trimmed_mean(lengths)
    ordered = np.sort(lengths)
    cut = int(0.01 * (n - 1))  # "lower" and "higher" leave in what the percentile falls between
    kept = ordered[cut : n - cut]
    np.testing.assert_allclose(mean, kept.mean(), rtol=1e-12)
    assert stderr == (None if n == 1 else pytest.approx(kept.std(ddof=1) / np.sqrt(len(kept))))


def test_a_path_length_is_compiled() -> None:
    found = jax.jit(lambda s, e: path_lengths(jnp.sin, along_line, s, e, T))(START, STOP)
    assert found.shape == (6,)
