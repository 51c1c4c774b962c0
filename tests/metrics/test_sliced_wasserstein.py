"""Sliced Wasserstein distances against POT and SciPy, and the protocol of patches step by step."""

import numpy as np
import ot
import pytest
from scipy.ndimage import convolve
from scipy.stats import wasserstein_distance

from jaxgen.data import from_arrays
from jaxgen.metrics import sliced_wasserstein as module
from jaxgen.metrics.sliced_wasserstein import descriptors, of_patches, over, sliced

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 4)) + 5, RNG.normal(size=(20, 4)) * [1, 2, 0.5, 1] + 5.5


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize(("n", "m"), [(20, 20), (30, 20), (7, 20)])
def test_it_is_pots_along_the_same_directions(n: int, m: int, p: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(3).normal(size=(4, 40))
    theirs = ot.sliced_wasserstein_distance(X[:n], Y[:m], projections=drawn / np.linalg.norm(drawn, axis=0), p=p)
    assert sliced(X[:n], Y[:m], projections=40, seed=3, p=p) == pytest.approx(theirs, rel=1e-5)
    monkeypatch.setattr(module, "ROWS", 9)
    monkeypatch.setattr(module, "DIRECTIONS", 7)
    assert sliced(X[:n], Y[:m], projections=40, seed=3, p=p) == pytest.approx(theirs, rel=1e-5)


def test_on_a_line_it_is_scipys() -> None:
    theirs = wasserstein_distance(X[:, 0], Y[:, 1])
    assert sliced(X[:, :1], Y[:, 1:2], projections=2, seed=0, p=1) == pytest.approx(theirs, rel=1e-5)


def test_of_gaussians_that_are_shifted_and_stretched() -> None:
    """By a vector: its length over the root of the dimensions; by a factor: the difference of the standard deviations."""
    z = np.random.default_rng(1).normal(size=(4000, 8))
    z = np.concatenate([z, -z])
    shift = np.arange(8.0)
    expected = np.linalg.norm(shift) / np.sqrt(8)
    assert sliced(z, z + shift, projections=4000, seed=0) == pytest.approx(expected, rel=0.05)
    assert sliced(z, 3 * z, projections=100, seed=0) == pytest.approx(2, rel=0.02)
    assert sliced(z, z[::-1].copy(), projections=10, seed=0) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="one or more; got 2 and 0"):
        sliced(z, z, projections=0, seed=0)


def by_scipy(image: np.ndarray, levels: int) -> list[np.ndarray]:
    """The pyramid of one channel."""
    row = np.array([1, 4, 6, 4, 1]) / 16
    kernel, pyramid = np.outer(row, row), [image.astype(np.float64)]
    for _ in range(levels - 1):
        pyramid.append(convolve(pyramid[-1], kernel, mode="mirror")[::2, ::2])
        spread = np.zeros(pyramid[-2].shape)
        spread[::2, ::2] = pyramid[-1]
        pyramid[-2] = pyramid[-2] - convolve(spread, 4 * kernel, mode="mirror")
    return pyramid


def test_descriptors_are_patches_of_the_pyramid() -> None:
    images = RNG.integers(0, 256, (3, 64, 72, 2)).astype(np.uint8)
    found = descriptors(images, np.random.default_rng(0), patches=5)
    assert {side: d.shape for side, d in found.items()} == dict.fromkeys((64, 32, 16), (15, 7, 7, 2))
    for side, level in zip((64, 32, 16), zip(*(by_scipy(images[i, :, :, 1], 3) for i in range(3)), strict=True), strict=True):
        windows = [np.lib.stride_tricks.sliding_window_view(x, (7, 7)).reshape(-1, 49) for x in level]
        for k, patch in enumerate(found[side][..., 1].reshape(15, 49)):
            assert np.abs(windows[k // 5] - patch).max(1).min() < 1e-3


def test_patches_lie_everywhere() -> None:
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None], (1, 16, 16))[..., None].copy()
    found = descriptors(ramp, np.random.default_rng(0), patches=300)[16]
    assert set(found[:, 0, 0, 0].tolist()) == set(range(10))


@pytest.mark.filterwarnings("ignore::jaxgen.errors.FewExamplesWarning")
def test_the_distance_is_that_of_normalised_patches() -> None:
    a, b = ({16: RNG.normal(size=(n, 7, 7, 2)).astype(np.float32) ** 3 * [1, 9] + [4, 0]} for n in (60, 50))
    directions = np.random.default_rng(7).normal(size=(98, 6))
    directions /= np.linalg.norm(directions, axis=0)
    x, y = (((d[16] - d[16].mean((0, 1, 2))) / d[16].std((0, 1, 2))).reshape(-1, 98) @ directions for d in (a, b))
    expected = 1e3 * np.mean([wasserstein_distance(x[:, i], y[:, i]) for i in range(6)])
    assert of_patches(a, b, seed=7, repeats=2, projections=3)[16] == pytest.approx(expected, rel=1e-4)
    # Neither the brightness nor the contrast of a whole channel is seen.
    scaled = {16: b[16] * [2, 0.1] + 50}
    assert of_patches(a, scaled, seed=7, repeats=2, projections=3)[16] == pytest.approx(expected, rel=1e-4)
    assert of_patches(a, a, seed=7)[16] == pytest.approx(0, abs=1e-3)
    with pytest.raises(ValueError, match=r"levels of \[16\] and of \[32, 16\] do not compare"):
        of_patches(a, {32: b[16], 16: b[16]}, seed=0)


def test_a_set_is_drawn_batch_by_batch() -> None:
    images = RNG.integers(0, 256, (12, 32, 32, 1)).astype(np.uint8)
    found = over(from_arrays({"image": images}), seed=0, patches=4, batch_size=5)
    rng = np.random.default_rng(0)
    parts = [descriptors(images[i : i + 5], rng, patches=4) for i in (0, 5, 10)]
    for side in (32, 16):
        np.testing.assert_array_equal(found[side], np.concatenate([p[side] for p in parts]))


def test_what_changes_at_one_scale_is_seen_there() -> None:
    """Plain images with noise of single pixels, of two kinds: the finest level tells them apart and the coarsest does not."""
    draw = lambda seed, kind: over(from_arrays({"image": noise(seed, kind)}), seed=seed, patches=64)

    def noise(seed: int, rare: bool) -> np.ndarray:
        u = np.random.default_rng(seed).random((24, 64, 64, 1))
        return np.where(u < (0.02 if rare else 0.5), 250, 10).astype(np.uint8)

    a, b, c = draw(0, False), draw(1, False), draw(2, True)
    same, apart = of_patches(a, b, seed=0, repeats=1), of_patches(a, c, seed=0, repeats=1)
    assert apart[64] > 2 * same[64]
    assert apart[16] < 2 * same[16]


@pytest.mark.parametrize(("shape", "match"), [((70, 70), "cannot be halved"), ((15, 30), "smaller than the coarsest")])
def test_images_without_a_pyramid_are_refused(shape: tuple[int, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        descriptors(np.zeros((1, *shape, 1), np.uint8), np.random.default_rng(0))
