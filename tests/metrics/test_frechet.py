"""The Fréchet distance against its closed form and SciPy's matrix root, however the features are cut."""

import functools
import itertools

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.errors import FewExamplesWarning
from jaxgen.metrics import frechet

RNG = np.random.default_rng(0)
FEATURES = (RNG.normal(size=(300, 6)) @ RNG.normal(size=(6, 6)) + 50).astype(np.float32)
OTHERS = (RNG.normal(size=(200, 6)) @ RNG.normal(size=(6, 6)) + 48).astype(np.float32)


def by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(one @ two))
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + two - 2 * root)


def gathered(features: np.ndarray, sizes: list[int]) -> frechet.Moments:
    cuts = itertools.accumulate(sizes, initial=0)
    return functools.reduce(frechet.merge, (frechet.moments(features[i:j]) for i, j in itertools.pairwise(cuts)))


def gaussian(mean: np.ndarray, covariance: np.ndarray) -> frechet.Moments:
    return frechet.Moments(11, mean, 10 * covariance)


def test_it_is_scipys() -> None:
    ours = frechet.distance(gathered(FEATURES, [300]), gathered(OTHERS, [200]))
    assert ours == pytest.approx(by_scipy(FEATURES, OTHERS), rel=1e-6)


@given(st.lists(st.sampled_from([1, 2, 31]), min_size=2, max_size=8).filter(lambda sizes: sum(sizes) > 12))
@settings(max_examples=20)
def test_batches_do_not_matter(sizes: list[int]) -> None:
    parts, seen = gathered(FEATURES, sizes), FEATURES[: sum(sizes)].astype(np.float64)
    assert parts.n == len(seen)
    np.testing.assert_allclose(parts.mean, seen.mean(0), rtol=1e-12)
    np.testing.assert_allclose(parts.covariance, np.cov(seen, rowvar=False), rtol=1e-10)
    assert frechet.distance(parts, gaussian(seen.mean(0), np.cov(seen, rowvar=False))) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("std", [0.5, 1.0, 3.0])
def test_of_known_gaussians(std: float) -> None:
    """In one dimension it is the difference of the means and of the standard deviations, squared."""
    n = 11
    points = np.linspace(-1, 1, n)[:, None]
    points = points / points.std(ddof=1)
    a, b = (frechet.moments(x) for x in (points, 2 + std * points))
    assert frechet.distance(a, b) == pytest.approx(4 + (1 - std) ** 2, rel=1e-9)


def test_fewer_examples_than_dimensions() -> None:
    few = FEATURES[:4]
    with pytest.warns(FewExamplesWarning, match="of 4 examples in 6 dimensions"):
        assert frechet.distance(gathered(few, [4]), gathered(few, [4])) == pytest.approx(0.0, abs=1e-4)
    with pytest.raises(ValueError, match="needs two examples; got 1 and 4"):
        frechet.distance(gathered(few, [1]), gathered(few, [4]))


def test_a_set_in_a_file_is_the_set(tmp_path) -> None:
    mapped = np.memmap(tmp_path / "features", np.float32, "w+", shape=FEATURES.shape)
    mapped[:] = FEATURES
    for rows in (7, 100, 8192):
        ours = frechet.moments(mapped, rows)
        assert ours.n == 300
        np.testing.assert_allclose(ours.mean, FEATURES.astype(np.float64).mean(0), rtol=1e-12)
        np.testing.assert_allclose(ours.covariance, np.cov(FEATURES.astype(np.float64), rowvar=False), rtol=1e-10)
    assert frechet.moments(FEATURES[:0]).n == 0


@given(seed=st.integers(0, 10_000))
@settings(max_examples=50)
def test_of_gaussians_with_the_same_axes(seed: int) -> None:
    """The difference of the standard deviations along each axis, squared; the axes themselves do not matter."""
    rng = np.random.default_rng(seed)
    means, deviations = rng.normal(size=(2, 2, 5))
    deviations = np.abs(deviations) * rng.integers(0, 2, (2, 5))  # of no width along some
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    a, b = (gaussian(axes @ m, (axes * s**2) @ axes.T) for m, s in zip(means, deviations, strict=True))
    expected = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet.distance(a, b) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert frechet.distance(b, a) == pytest.approx(frechet.distance(a, b), rel=1e-6, abs=1e-6)


def test_of_two_gaussians_in_the_plane() -> None:
    """tr (A B)^(1/2) of two by two is (tr AB + 2 (det AB)^(1/2))^(1/2)."""
    one, two = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.9], [-0.9, 3.0]])
    product = one @ two
    shared = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    ours = frechet.distance(gaussian(np.zeros(2), one), gaussian(np.ones(2), two))
    assert ours == pytest.approx(2 + 7 - 2 * shared, rel=1e-9)


def test_neither_the_order_nor_the_axes_of_features_matter() -> None:
    rng = np.random.default_rng(2)
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32)
    plain = frechet.distance(frechet.moments(FEATURES), frechet.moments(OTHERS))
    shuffled = frechet.distance(frechet.moments(rng.permutation(FEATURES)), frechet.moments(rng.permutation(OTHERS)))
    turned = frechet.distance(frechet.moments(FEATURES @ axes), frechet.moments(OTHERS @ axes))
    assert shuffled == pytest.approx(plain, rel=1e-9)
    assert turned == pytest.approx(plain, rel=1e-4)
