"""The kernel distance against sums that are written out."""

import numpy as np
import pytest

from jaxgen.metrics import kernel

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(40, 5)).astype(np.float32) + 3, RNG.normal(size=(50, 5)).astype(np.float32) * 1.5


def written_out(x: np.ndarray, y: np.ndarray) -> float:
    k = lambda a, b: (float(np.dot(a.astype(np.float64), b.astype(np.float64))) / len(a) + 1) ** 3
    pairs = lambda z: np.mean([k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j])
    return pairs(x) + pairs(y) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_it_is_the_sum_over_the_same_subsets() -> None:
    of_a, of_b = (kernel.draw(len(x), subsets=3, size=10, seed=i) for i, x in enumerate((A, B)))
    values = [written_out(A[i], B[j]) for i, j in zip(of_a, of_b, strict=True)]
    ours = kernel.distance(A, B, of_a, of_b)
    assert ours.mean == pytest.approx(np.mean(values), rel=1e-10)
    assert ours.std == pytest.approx(np.std(values), rel=1e-8)


def test_subsets_of_one_law_are_on_average_at_no_distance() -> None:
    """Unbiased: the mean over many subsets of one set lies within its error of 0, below it as often as above."""
    x = RNG.normal(size=(4000, 3)).astype(np.float32)
    of_a, of_b = (kernel.draw(2000, subsets=60, size=100, seed=i) for i in range(2))
    same = kernel.distance(x[:2000], x[2000:], of_a, of_b)
    assert abs(same.mean) < 4 * same.std / np.sqrt(60)
    other = kernel.distance(x[:2000], x[2000:] + 0.5, of_a, of_b)
    assert other.mean > 10 * other.std / np.sqrt(60)


def test_subsets_repeat_none_and_are_their_seeds() -> None:
    drawn = kernel.draw(30, subsets=5, size=20, seed=1)
    assert all(len(set(row)) == 20 for row in drawn.tolist())
    np.testing.assert_array_equal(drawn, kernel.draw(30, subsets=5, size=20, seed=1))
    assert (drawn != kernel.draw(30, subsets=5, size=20, seed=2)).any()
    with pytest.raises(ValueError, match="a subset of 31 cannot be drawn from 30"):
        kernel.draw(30, subsets=1, size=31, seed=0)


def test_neither_blocks_nor_files_change_it(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    of_a, of_b = np.arange(40), np.arange(50)
    whole = kernel.mmd(A, B, of_a, of_b)
    assert whole == pytest.approx(written_out(A, B), rel=1e-10)
    mapped = np.memmap(tmp_path / "features", np.float32, "w+", shape=A.shape)
    mapped[:] = A
    monkeypatch.setattr(kernel, "ROWS", 15)
    assert kernel.mmd(mapped, B, of_a, of_b) == pytest.approx(whole, rel=1e-12)


def test_neither_the_order_nor_the_axes_of_features_matter() -> None:
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    plain = kernel.mmd(A, B, np.arange(40), np.arange(50))
    assert kernel.mmd(A, B, rng.permutation(40), rng.permutation(50)) == pytest.approx(plain, rel=1e-10)
    assert kernel.mmd(A @ axes, B @ axes, np.arange(40), np.arange(50)) == pytest.approx(plain, rel=1e-10)
