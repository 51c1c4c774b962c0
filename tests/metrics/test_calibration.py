"""Calibration errors counted by hand, written out, and of classifiers whose calibration is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.errors import FewExamplesWarning
from jaxgen.metrics.calibration import expected_error, maximum_error, reliability


def two_classes(confidence: list[float], right: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Answers that are always the class 0."""
    p = np.array(confidence)
    return np.stack([p, 1 - p], 1), 1 - np.array(right)


def test_a_table_by_hand() -> None:
    p, labels = two_classes([0.55, 0.6, 0.62, 0.75, 0.99, 1.0], [1, 0, 1, 1, 1, 0])
    table = reliability(p, labels, bins=10)
    assert table.n.tolist() == [2, 1, 1, 2]  # 0.6 belongs to (0.5, 0.6], 1.0 to the last
    np.testing.assert_allclose(table.confidence, [0.575, 0.62, 0.75, 0.995])
    np.testing.assert_allclose(table.accuracy, [0.5, 1, 1, 0.5])
    gaps = [0.075, 0.38, 0.25, 0.495]
    with pytest.warns(FewExamplesWarning, match="6 answers in 4 bins"):
        error = expected_error(table)
    assert error == pytest.approx((2 * gaps[0] + gaps[1] + gaps[2] + 2 * gaps[3]) / 6)
    assert maximum_error(table) == pytest.approx(0.495)


def test_bins_of_equal_mass_by_hand() -> None:
    p, labels = two_classes([1.0, 0.55, 0.99, 0.6, 0.75], [0, 1, 1, 0, 1])
    table = reliability(p, labels, bins=2, equal_mass=True)
    assert table.n.tolist() == [3, 2]
    np.testing.assert_allclose(table.confidence, [1.9 / 3, 0.995])
    np.testing.assert_allclose(table.accuracy, [2 / 3, 0.5])
    assert reliability(p, labels, bins=9, equal_mass=True).n.tolist() == [1] * 5


@given(seed=st.integers(0, 10_000), bins=st.integers(1, 20))
@settings(max_examples=50)
def test_the_errors_are_the_sums_of_the_definition(seed: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    p, labels = rng.dirichlet(np.ones(4) * 0.5, 60), rng.integers(0, 4, 60)
    total, worst = 0.0, 0.0
    for b in range(bins):
        held = [i for i in range(60) if b / bins < p[i].max() <= (b + 1) / bins]
        if held:
            gap = abs(np.mean([p[i].argmax() == labels[i] for i in held]) - np.mean([p[i].max() for i in held]))
            total, worst = total + gap * len(held) / 60, max(worst, gap)
    table = reliability(p, labels, bins=bins)
    assert expected_error(table) == pytest.approx(total, abs=1e-12)
    assert maximum_error(table) == pytest.approx(worst, abs=1e-12)
    order = rng.permutation(60)
    assert expected_error(reliability(p[order], labels[order], bins=bins)) == pytest.approx(total, abs=1e-12)
    # One bin cannot tell over- from underconfidence, and is below all finer ones.
    one = expected_error(reliability(p, labels, bins=1))
    for equal_mass in (False, True):
        assert one - 1e-12 <= expected_error(reliability(p, labels, bins=bins, equal_mass=equal_mass)) <= 1


@pytest.mark.parametrize("equal_mass", [False, True])
def test_a_classifier_that_draws_its_labels_is_calibrated_and_a_surer_one_is_not(equal_mass: bool) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 40_000)
    labels = (rng.random((40_000, 1)) > p.cumsum(1)).sum(1)
    assert expected_error(reliability(p, labels, equal_mass=equal_mass)) < 0.01
    sharp = p**3 / (p**3).sum(1, keepdims=True)
    gap = sharp.max(1).mean() - p.max(1).mean()  # by how much it exaggerates, everywhere upward
    assert expected_error(reliability(sharp, labels, equal_mass=equal_mass)) == pytest.approx(gap, abs=0.01)


def test_the_surest_are_the_extremes() -> None:
    sure = np.eye(3)[[0, 1, 2]].astype(np.float32)
    assert expected_error(reliability(sure, np.array([0, 1, 2]))) == 0
    assert expected_error(reliability(sure, np.array([1, 2, 0]))) == maximum_error(reliability(sure, np.array([1, 2, 0]))) == 1


def test_what_is_no_table_of_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="take the softmax of logits"):
        reliability(np.ones((2, 3)), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="wants answers and bins; got 0 and 15"):
        reliability(np.ones((0, 3)), np.zeros(0, np.int64))
