"""Disentanglement of codes that follow their factors, mix them, or do not know them, and what is known in closed form."""

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from jaxgen.metrics.disentanglement import (
    beta_vae,
    beta_vae_by_factor,
    dci,
    information_gaps,
    mutual_information_gap,
    normalised_information,
)

RNG = np.random.default_rng(0)
FACTORS = np.stack(np.meshgrid(np.arange(4), np.arange(5), np.arange(3), np.arange(20), indexing="ij"), -1).reshape(-1, 4)[
    :, :3
]
PERFECT = (FACTORS - FACTORS.mean(0)) / FACTORS.std(0) + RNG.normal(size=FACTORS.shape) * 0.02
TURN = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
ROTATED, IGNORANT = PERFECT @ TURN, RNG.normal(size=FACTORS.shape)
ORDER = [2, 0, 1]


def higgins(codes: np.ndarray, seed: int = 0) -> float:
    return beta_vae(codes, FACTORS, seed=seed, train=300, test=300, pairs=24)


def small_dci(codes: np.ndarray):
    return dci(codes, FACTORS, seed=0, trees=8)


def test_a_perfect_code_scores_one_a_rotated_one_less_and_an_ignorant_one_nothing() -> None:
    assert higgins(PERFECT) > 0.99
    assert abs(higgins(IGNORANT) - 1 / 3) < 4 * np.sqrt(2 / 9 / 300)
    gaps = [mutual_information_gap(codes, FACTORS) for codes in (PERFECT, ROTATED, IGNORANT)]
    assert gaps[0] > 0.98
    assert gaps[0] - 0.3 > gaps[1] > gaps[2]
    assert gaps[2] < 0.02
    perfect, rotated, ignorant = (small_dci(codes) for codes in (PERFECT, ROTATED, IGNORANT))
    assert min(perfect[:3]) > 0.97
    assert perfect.disentanglement - 0.3 > rotated.disentanglement > ignorant.disentanglement
    assert perfect.completeness - 0.3 > rotated.completeness > ignorant.completeness
    assert max(ignorant[:2]) < 0.05
    assert abs(ignorant.informativeness - (1 / 4 + 1 / 5 + 1 / 3) / 3) < 0.1


@pytest.mark.parametrize("codes", [PERFECT, ROTATED])
def test_neither_the_order_nor_the_scale_of_the_coordinates_matters(codes: np.ndarray) -> None:
    other = codes[:, ORDER] * [3.0, -1.0, 0.2] + 5
    assert mutual_information_gap(other, FACTORS) == pytest.approx(mutual_information_gap(codes, FACTORS), abs=0.01)
    np.testing.assert_allclose(small_dci(other)[:3], small_dci(codes)[:3], atol=0.05)
    assert higgins(other) == pytest.approx(higgins(codes), abs=0.02)


def test_the_gap_is_that_of_scikit_learns_informations() -> None:
    codes = np.concatenate([ROTATED, PERFECT[:, :1] + ROTATED[:, :1]], 1)
    gaps = []
    for column in FACTORS.T:
        edges = [np.linspace(z.min(), z.max(), 8)[1:-1] for z in codes.T]
        told = sorted(mutual_info_score(np.digitize(z, e), column) for z, e in zip(codes.T, edges, strict=True))
        gaps.append((told[-1] - told[-2]) / mutual_info_score(column, column))
    assert mutual_information_gap(codes, FACTORS, bins=7) == pytest.approx(np.mean(gaps), abs=1e-9)


def test_a_factor_that_is_told_twice_has_no_gap_and_is_not_complete() -> None:
    """Half of the values by one coordinate and the other half by another: disentangled, and incomplete."""
    twice = np.concatenate([PERFECT, PERFECT[:, :1]], 1)
    assert mutual_information_gap(twice, FACTORS) == pytest.approx(2 / 3, abs=0.01)
    split = np.stack([np.minimum(FACTORS[:, 1], 2), np.maximum(FACTORS[:, 1], 2), FACTORS[:, 0], FACTORS[:, 2]], 1).astype(
        float
    )
    found = small_dci(split)
    assert found.disentanglement > 0.97
    assert found.completeness < 0.9
    assert found.informativeness > 0.99
    np.testing.assert_allclose(found.importance.sum(0), 1)
    # One coordinate for all of two factors: the other way round.
    mixed = np.stack([FACTORS[:, 0] * 5 + FACTORS[:, 1], FACTORS[:, 2]], 1).astype(float)
    found = small_dci(mixed)
    assert found.completeness > 0.97
    assert found.disentanglement == pytest.approx(2 / 3 * (1 - np.log(2) / np.log(3)) + 1 / 3, abs=0.03)


def test_a_code_of_one_coordinate_may_be_of_one_factor() -> None:
    found = dci(PERFECT[:, :1], FACTORS, seed=0, trees=3)
    assert found.completeness == 1
    assert mutual_information_gap(PERFECT[:, :1], FACTORS) == pytest.approx(1 / 3, abs=0.02)
    assert mutual_information_gap(np.zeros((len(FACTORS), 2)), FACTORS) == pytest.approx(0, abs=1e-12)


def test_draws_are_their_seeds() -> None:
    assert higgins(ROTATED, seed=1) == higgins(ROTATED, seed=1)
    np.testing.assert_array_equal(small_dci(ROTATED).importance, small_dci(ROTATED).importance)


@pytest.mark.parametrize(("factors", "match"), [(FACTORS[:, :1], "from two on; got 1"), (FACTORS * [1, 0, 1], "factor 1 has")])
def test_factors_that_cannot_be_told_are_refused(factors: np.ndarray, match: str) -> None:
    for metric in (mutual_information_gap, lambda c, f: dci(c, f, seed=0), lambda c, f: beta_vae(c, f, seed=0)):
        with pytest.raises(ValueError, match=match):
            metric(PERFECT, factors)


def test_the_values_of_each_factor_are_those_of_its_own_coordinate() -> None:
    """A code that follows the first and the last factor, and knows nothing of the second."""
    codes = np.stack([PERFECT[:, 2], IGNORANT[:, 0], -PERFECT[:, 0]], 1)
    information = normalised_information(codes, FACTORS)
    expected = np.zeros((3, 3))
    expected[0, 2] = expected[2, 0] = 1
    np.testing.assert_allclose(information, expected, atol=0.03)
    np.testing.assert_allclose(information_gaps(information), [1, 0, 1], atol=0.03)
    assert information_gaps(information).mean() == pytest.approx(mutual_information_gap(codes, FACTORS), abs=1e-12)
    found = small_dci(codes)
    assert found.accuracy_of[[0, 2]].min() > 0.97
    assert found.accuracy_of[1] < 0.4
    assert found.completeness_of[[0, 2]].min() > 0.97
    assert found.completeness == pytest.approx(found.completeness_of.mean())
    assert found.informativeness == pytest.approx(found.accuracy_of.mean())
    votes = beta_vae_by_factor(codes, FACTORS, seed=0, train=300, test=300, pairs=24)
    assert votes.accuracy == higgins(codes)
    # The second is recognised by neither of the others: the metric does not notice that no coordinate has it.
    assert votes.accuracy_of.min() > 0.95
    half = beta_vae_by_factor(PERFECT[:, :1], FACTORS, seed=0, train=600, test=600, pairs=24)
    assert half.accuracy_of[0] > 0.95
    assert half.accuracy == pytest.approx(2 / 3, abs=0.07)
    assert half.accuracy_of[1:].sum() == pytest.approx(1, abs=0.15), "of two factors that no coordinate has, one is guessed"


def test_a_factor_without_a_point_has_no_accuracy() -> None:
    many = FACTORS[:, [0, 1, 2] * 10]
    found = beta_vae_by_factor(PERFECT, many, seed=0, train=300, test=8, pairs=4)
    assert np.isnan(found.accuracy_of).sum() >= 22
    assert 0 <= found.accuracy <= 1


def test_the_gap_is_that_of_disentanglement_lib() -> None:
    """Its formula: `np.digitize` by the edges of `np.histogram` but the last, which puts the largest code into bin 20."""
    codes = np.concatenate([ROTATED, PERFECT[:, :1] + ROTATED[:, :1]], 1)
    cut = np.stack([np.digitize(z, np.histogram(z, 20)[1][:-1]) for z in codes.T])
    information = np.array([[mutual_info_score(column, z) for column in FACTORS.T] for z in cut])
    entropies = np.array([mutual_info_score(column, column) for column in FACTORS.T])
    largest = np.sort(information, axis=0)[::-1]
    np.testing.assert_allclose(normalised_information(codes, FACTORS), information / entropies, atol=1e-9)
    assert mutual_information_gap(codes, FACTORS) == pytest.approx(np.mean((largest[0] - largest[1]) / entropies), abs=1e-9)


def test_disentanglement_and_completeness_are_those_of_disentanglement_lib() -> None:
    """Its formulas of an importance matrix: entropies to the base of the number of terms, of terms plus 1e-11."""
    found = small_dci(ROTATED)
    matrix = found.importance
    of_codes = 1 - entropy(matrix.T + 1e-11, base=matrix.shape[1])
    of_factors = 1 - entropy(matrix + 1e-11, base=matrix.shape[0])
    assert found.disentanglement == pytest.approx((of_codes * matrix.sum(1) / matrix.sum()).sum(), abs=1e-8)
    assert found.completeness == pytest.approx((of_factors * matrix.sum(0) / matrix.sum()).sum(), abs=1e-8)
