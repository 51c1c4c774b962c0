"""Nearest neighbours against distances that are written out and scikit-learn's."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsClassifier

from jaxgen.errors import FewExamplesWarning
from jaxgen.metrics import distances, neighbours

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
    monkeypatch.setattr(distances, "ROWS", rows)
    monkeypatch.setattr(distances, "COLUMNS", columns)
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
    monkeypatch.setattr(distances, "ROWS", rows)
    monkeypatch.setattr(distances, "COLUMNS", columns)
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


def test_a_real_example_and_a_sample_that_are_as_near_share_the_answer() -> None:
    real, fake = (np.array(x, np.float32)[:, None] for x in ([0, 1], [-1, 50]))
    assert neighbours.two_sample(real, fake) == (0.75, 0)
    assert neighbours.two_sample(np.full((5, 3), 0.3), np.full((5, 3), 0.3)) == (0.5, 0.5)


def whole_numbers(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, ...]:
    """All four, and both accuracies of the two-sample test, in integers alone."""
    d = lambda a, b: np.stack([((b - x) ** 2).sum(1) for x in a])
    of_real, of_fake, across = d(real, real), d(fake, fake), d(real, fake)
    in_real, in_fake = (across <= np.sort(of_real, 1)[:, k][:, None]), (across <= np.sort(of_fake, 1)[:, k])
    told = []
    for own, other in ((of_real, across), (of_fake, across.T)):
        near, far = np.sort(own, 1)[:, 1], other.min(1)
        told.append(((near < far) + 0.5 * (near == far)).mean())
    return in_real.any(0).mean(), in_fake.any(1).mean(), in_real.sum() / (k * len(fake)), in_real.any(1).mean(), *told


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x = load_digits().data.astype(np.int64)
    return (x[:300] > 7).astype(np.int64), (x[300:600] > 7).astype(np.int64)


def tied(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Sets of whole numbers with many ties."""
    rng = np.random.default_rng(3)
    some = rng.integers(0, 256, (120, 48))
    sets = {
        "digits": digits,
        "bits": lambda: (rng.integers(0, 2, (150, 12)), rng.integers(0, 2, (150, 12))),
        "bytes with duplicates": lambda: (some[rng.integers(0, 60, 130)], some[rng.integers(30, 120, 130)]),
        "sets that share members": lambda: (some[:80], some[40:]),
        "one value": lambda: (np.full((20, 3), 7), np.full((20, 3), 7)),
        "a grid": lambda: (np.indices((9, 9)).reshape(2, -1).T, np.indices((9, 9)).reshape(2, -1).T + 1),
        "a collapsed model": lambda: (some, np.repeat(some[:1], 120, 0)),
    }
    return sets[name]()


@pytest.mark.parametrize(
    "name", ["digits", "bits", "bytes with duplicates", "sets that share members", "one value", "a grid", "a collapsed model"]
)
@pytest.mark.parametrize(("unit", "offset"), [(1, 0), (0.25, 0), (1, 1_000_000), (1, -3)])
def test_ties_are_those_of_exact_arithmetic(name: str, unit: float, offset: int) -> None:
    """Of whole numbers; of quarters and of numbers far from zero, which float32 holds too."""
    real, fake = tied(name)
    a, b = (np.asarray(x * unit + offset, np.float32) for x in (real, fake))
    expected = whole_numbers(real, fake, 3)
    found = *neighbours.manifolds(a, b, k=3), *neighbours.two_sample(a, b)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_are_equal_are_equally_far_whatever_their_values(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that round, some of them in both sets or several times: as float64 differences have it, in any blocks."""
    rng = np.random.default_rng(seed)
    pool = (rng.normal(size=(40, 24)) * 10 ** rng.uniform(-3, 3, 24) + 100).astype(np.float32)
    pool = np.concatenate([pool, pool.mean(0) + 1e-4 * rng.normal(size=(10, 24)).astype(np.float32)])
    real, fake = pool[rng.integers(0, 35, 90)], pool[rng.integers(20, 50, 90)]
    expected = whole_numbers(real.astype(np.float64), fake.astype(np.float64), 5)
    for rows, columns in ((7, 13), (1024, 4096)):
        monkeypatch.setattr(distances, "ROWS", rows)
        monkeypatch.setattr(distances, "COLUMNS", columns)
        found = *neighbours.manifolds(real, fake, k=5), *neighbours.two_sample(real, fake)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-20, 1e25])
def test_neither_tiny_nor_huge_features_nor_an_outlier_matter(scale: float) -> None:
    a, b = REAL.astype(np.float64), FAKE.astype(np.float64)
    plain = neighbours.manifolds(a, b, k=3)
    assert neighbours.manifolds(a * scale, b * scale, k=3) == plain
    far = np.concatenate([b, np.full((1, 4), 1e9)])
    assert neighbours.manifolds(a, far, k=3).recall == plain.recall


def test_what_is_not_finite_has_no_value() -> None:
    for bad in (np.nan, np.inf):
        broken = REAL.copy()
        broken[7, 1] = bad
        assert np.isnan(neighbours.manifolds(broken, FAKE, k=3)).all()
        assert np.isnan(neighbours.manifolds(FAKE, broken, k=3)).all()
        assert np.isnan(neighbours.two_sample(broken[:110], FAKE)).all()
        assert np.isnan(neighbours.two_sample(FAKE, broken[:110])).all()


def test_few_examples_for_their_neighbours_are_told() -> None:
    with pytest.warns(FewExamplesWarning, match="3-th of 11 examples"):
        neighbours.manifolds(REAL[:11], FAKE, k=3)
    with pytest.raises(ValueError, match="two of each set; got 1"):
        neighbours.two_sample(REAL[:1], FAKE[:1])


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
