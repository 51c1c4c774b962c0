"""The Fréchet distance against its closed form and SciPy's matrix root, however the features are cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

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
    total, start = frechet.empty(features.shape[1]), 0
    for size in sizes:
        total = frechet.merge(total, frechet.of(jnp.asarray(features[start : start + size])))
        start += size
    return total


def test_it_is_scipys() -> None:
    ours = frechet.distance(gathered(FEATURES, [300]), gathered(OTHERS, [200]))
    assert ours == pytest.approx(by_scipy(FEATURES, OTHERS), rel=1e-5)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_batches_do_not_matter(sizes: list[int]) -> None:
    sizes = [s for s, total in zip(sizes, np.cumsum(sizes), strict=True) if total <= 300]
    sizes.append(300 - sum(sizes))
    parts, whole = gathered(FEATURES, [s for s in sizes if s]), gathered(FEATURES, [300])
    assert parts.n == 300
    np.testing.assert_allclose(parts.mean, FEATURES.astype(np.float64).mean(0), rtol=1e-6)
    np.testing.assert_allclose(parts.covariance, np.cov(FEATURES.astype(np.float64), rowvar=False), rtol=1e-5, atol=1e-5)
    assert frechet.distance(parts, whole) == pytest.approx(0.0, abs=1e-5)


def test_padding_counts_for_nothing() -> None:
    padded = np.concatenate([FEATURES[:100], np.full((28, 6), 1e6, np.float32)])
    mask = jnp.asarray(np.arange(128) < 100, jnp.float32)
    ours, plain = frechet.of(jnp.asarray(padded), mask), frechet.of(jnp.asarray(FEATURES[:100]))
    assert ours.n == plain.n == 100
    np.testing.assert_allclose(ours.scatter, plain.scatter, rtol=1e-4)


def test_devices_do_not_matter() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    cut, whole = frechet.of(jax.device_put(FEATURES, rows)), frechet.of(jnp.asarray(FEATURES))
    np.testing.assert_allclose(cut.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(cut.scatter, whole.scatter, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("std", [0.5, 1.0, 3.0])
def test_of_known_gaussians(std: float) -> None:
    """In one dimension it is the difference of the means and of the standard deviations, squared."""
    n = 11
    points = np.linspace(-1, 1, n)[:, None]
    points = points / points.std(ddof=1)
    a, b = (frechet.of(jnp.asarray(x, jnp.float32)) for x in (points, 2 + std * points))
    assert frechet.distance(a, b) == pytest.approx(4 + (1 - std) ** 2, rel=1e-5)


def test_fewer_examples_than_dimensions() -> None:
    few = FEATURES[:4]
    assert frechet.distance(gathered(few, [4]), gathered(few, [4])) == pytest.approx(0.0, abs=1e-4)
    with pytest.raises(ValueError, match="needs two examples; got 1 and 4"):
        frechet.distance(gathered(few, [1]), gathered(few, [4]))
