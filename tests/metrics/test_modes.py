"""Modes captured: counts by hand, and the mixtures themselves as samples."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data.builders import mixtures
from jaxgen.errors import InputError
from jaxgen.metrics.modes import modes, of_classes

CENTRES = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def test_counts_by_hand() -> None:
    samples = jnp.array([[0.0, 0.29], [0.31, 0.0], [1.0, 1.2], [1.2, 1.2], [0.9, 0.0], [5.0, 9.0], [1.0, 0.0], [0.0, 0.0]])
    found = modes(samples, CENTRES, 0.1)
    # Of high quality: 1st, 3rd, 4th (0.283), 5th, 7th, 8th; 2nd is 0.31 off.
    assert found.captured == 3
    assert found.high_quality == pytest.approx(6 / 8)
    shares = np.array([3, 2, 0, 3]) / 8
    expected = sum(s * math.log(s * 4) for s in shares if s)
    assert found.reverse_kl == pytest.approx(expected, abs=1e-6)


def test_a_mode_needs_a_sample_of_high_quality_to_be_captured() -> None:
    found = modes(jnp.array([[0.2, 0.0], [0.0, 0.4]]), CENTRES, 0.1)
    assert found.captured == 1
    assert modes(jnp.array([[0.0, 0.4]]), CENTRES, 0.1).captured == 0


def test_one_mode_alone_has_the_reverse_kl_of_the_logarithm_of_their_number() -> None:
    found = modes(jnp.zeros((50, 2)), CENTRES, 0.1)
    assert found.reverse_kl == pytest.approx(math.log(4), abs=1e-6)
    assert (found.captured, found.high_quality) == (1, 1)


@pytest.mark.parametrize("mixture", [mixtures.RING, mixtures.GRID])
def test_the_data_capture_all_of_their_own_modes(mixture: mixtures.Mixture) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(len(mixture.centres), size=2500)
    points = mixture.centres[labels] + mixture.std * rng.normal(size=(2500, 2))
    found = modes(jnp.array(points, jnp.float32), jnp.array(mixture.centres, jnp.float32), mixture.std)
    assert found.captured == len(mixture.centres)
    # Rayleigh's law: 1 - exp(-9 / 2) of a Gaussian in the plane lies within three standard deviations.
    assert found.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.01)
    assert 0 < found.reverse_kl < 0.01


def test_combinations_of_classes_by_hand() -> None:
    labels = np.array([[0, 1, 2], [0, 1, 2], [2, 1, 0], [0, 0, 0]])
    found, kl = of_classes(labels, 3)
    assert found == 3
    assert kl == pytest.approx(0.5 * math.log(0.5 * 27) + 2 * 0.25 * math.log(0.25 * 27))


def test_every_combination_as_often_has_no_divergence_and_one_alone_that_of_their_number() -> None:
    everything = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    assert of_classes(np.concatenate([everything] * 3), 4) == (64, pytest.approx(0, abs=1e-12))
    assert of_classes(np.full((50, 3), 3), 4) == (1, pytest.approx(3 * math.log(4)))


def test_equal_shares_are_off_by_what_few_samples_make() -> None:
    """The mean of a chi-squared variable: 2 n KL is about one, to first order, of m - 1 degrees of freedom."""
    drawn = np.random.default_rng(0).integers(0, 10, (26_000, 3))
    found, kl = of_classes(drawn, 10)
    assert found == 1000
    assert kl == pytest.approx(999 / 52_000, rel=0.15)


def test_what_is_no_class_is_refused() -> None:
    for labels in (np.array([[0, 3]]), np.array([[-1, 0]])):
        with pytest.raises(InputError, match="samples' classes"):
            of_classes(labels, 3)
