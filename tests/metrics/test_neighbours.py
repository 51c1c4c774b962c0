"""Nearest neighbours against distances that are written out and scikit-learn's."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsClassifier

from jaxgen.metrics import neighbours

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(150, 4)).astype(np.float32) + 20
FAKE = (RNG.normal(size=(110, 4)) * [1, 1, 0.3, 2]).astype(np.float32) + 20.2


def written_out(real: np.ndarray, fake: np.ndarray, k: int) -> neighbours.Manifolds:
    radius = lambda x: np.sort(cdist(x, x), axis=1)[:, k]
    across = cdist(real, fake)
    in_real, in_fake = across <= radius(real)[:, None], across <= radius(fake)[None]
    return neighbours.Manifolds(in_real.any(0).mean(), in_fake.any(1).mean(), in_real.sum(0).mean() / k, in_real.any(1).mean())


BLOCKS = pytest.mark.parametrize(("rows", "columns"), [(64, 4), (1024, 8192)])
"""Of a matrix of distances, 150 by 110 or square: the first does not divide it, and is narrower than a neighbourhood."""


@pytest.mark.parametrize("k", [1, 5])
@BLOCKS
def test_all_four_are_what_the_distances_say(k: int, rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS", rows)
    monkeypatch.setattr(neighbours, "COLUMNS", columns)
    ours = neighbours.manifolds(REAL, FAKE, k=k)
    np.testing.assert_allclose(ours, written_out(REAL.astype(np.float64), FAKE.astype(np.float64), k), atol=1e-6)


def test_the_same_set_is_precise_and_complete_and_a_distant_one_is_neither() -> None:
    same = neighbours.manifolds(REAL, REAL, k=3)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert same.density == pytest.approx(4 / 3, abs=1e-6)  # each ball holds its centre too
    assert neighbours.manifolds(REAL, FAKE + 100, k=3) == (0, 0, 0, 0)


def test_a_set_without_a_kth_neighbour_is_refused() -> None:
    with pytest.raises(ValueError, match="a 3-th neighbour needs 4 examples; got 150 and 3"):
        neighbours.manifolds(REAL, FAKE[:3], k=3)


@BLOCKS
def test_two_samples_are_told_apart_as_by_scikit_learn(rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS", rows)
    monkeypatch.setattr(neighbours, "COLUMNS", columns)
    real = REAL[:110]
    both, labels = np.concatenate([real, FAKE]), np.repeat([1, 0], 110)
    expected = []
    for i in range(len(both)):
        others = np.delete(np.arange(len(both)), i)
        guess = KNeighborsClassifier(1).fit(both[others], labels[others]).predict(both[i : i + 1])[0]
        expected.append(guess == labels[i])
    ours = neighbours.two_sample(real, FAKE)
    np.testing.assert_allclose(ours, (np.mean(expected[:110]), np.mean(expected[110:])), atol=1e-6)
    with pytest.raises(ValueError, match="as many samples as real examples are wanted; got 110 and 150"):
        neighbours.two_sample(REAL, FAKE)


def test_a_copied_set_is_taken_for_the_other_one() -> None:
    """The nearest of a sample is the example it copies, and the other way round."""
    assert neighbours.two_sample(REAL, REAL) == (0, 0)


def test_of_a_real_example_and_a_sample_that_are_as_near_the_real_one_counts() -> None:
    real, fake = (np.array(x, np.float32)[:, None] for x in ([0, 1], [-1, 50]))
    assert neighbours.two_sample(real, fake) == (1, 0)


def test_neither_files_nor_the_order_nor_the_axes_of_features_matter(tmp_path) -> None:
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(4, 4)))[0].astype(np.float32)
    mapped = np.memmap(tmp_path / "features", np.float32, "w+", shape=REAL.shape)
    mapped[:] = REAL
    plain, told = neighbours.manifolds(REAL, FAKE, k=3), neighbours.two_sample(REAL[:110], FAKE)
    assert neighbours.manifolds(mapped, FAKE, k=3) == plain
    assert neighbours.two_sample(mapped[:110], FAKE) == told
    for change in (lambda x: rng.permutation(x), lambda x: x @ axes):
        assert neighbours.manifolds(change(REAL), change(FAKE), k=3) == pytest.approx(plain, abs=1e-6)
        assert neighbours.two_sample(change(REAL[:110]), change(FAKE)) == pytest.approx(told, abs=1e-6)
