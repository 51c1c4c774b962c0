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


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("rows", [7, 1024])
def test_all_four_are_what_the_distances_say(k: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS", rows)
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


@pytest.mark.parametrize("rows", [13, 1024])
def test_two_samples_are_told_apart_as_by_scikit_learn(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS", rows)
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
