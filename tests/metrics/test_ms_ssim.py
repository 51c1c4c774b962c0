"""Multi-scale structural similarity against SciPy's convolutions, in float64 and window by window."""

import numpy as np
import pytest
from scipy.ndimage import zoom
from scipy.signal import convolve2d

from jaxgen.metrics import ms_ssim as module
from jaxgen.metrics.ms_ssim import diversity, ms_ssim, scales_that_fit

RNG = np.random.default_rng(0)


def pictures(n: int, height: int, width: int, channels: int = 1) -> np.ndarray:
    """Smooth ones: white noise has no structure left at coarse scales."""
    coarse = RNG.random((n, height // 4 + 2, width // 4 + 2, channels))
    return (zoom(coarse, (1, 4, 4, 1), order=1)[:, :height, :width] * 255).astype(np.uint8)


def noisy(images: np.ndarray, std: float) -> np.ndarray:
    return np.clip(images + RNG.normal(size=images.shape) * std, 0, 255).astype(np.uint8)


def components(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """SSIM and its contrast and structure of one channel, by a window of two dimensions."""
    i = np.arange(11) - 5
    window = np.exp(-(i[:, None] ** 2 + i**2) / (2 * 1.5**2))
    blur = lambda x: convolve2d(x, window / window.sum(), mode="valid")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    va, vb, cov = (blur(x * y) - blur(x) * blur(y) for x, y in ((a, a), (b, b), (a, b)))
    cs = (2 * cov + c2) / (va + vb + c2)
    return ((2 * blur(a) * blur(b) + c1) / (blur(a) ** 2 + blur(b) ** 2 + c1) * cs).mean(), cs.mean()


def halved(x: np.ndarray) -> np.ndarray:
    h, w = x.shape
    x = np.concatenate([x, x[-1:]]) if h % 2 else x
    x = np.concatenate([x, x[:, -1:]], 1) if w % 2 else x
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


def by_scipy(a: np.ndarray, b: np.ndarray, scales: int) -> float:
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    of_channels = []
    for c in range(a.shape[2]):
        x, y, value = a[..., c].astype(np.float64), b[..., c].astype(np.float64), 1.0
        for j, w in enumerate(weights / weights.sum()):
            ssim, cs = components(x, y)
            value *= max(ssim if j == scales - 1 else cs, 0) ** w
            x, y = halved(x), halved(y)
        of_channels.append(value)
    return float(np.mean(of_channels))


@pytest.mark.parametrize(("shape", "scales"), [((23, 31, 3), 2), ((45, 50, 1), 3), ((161, 166, 1), 5)])
def test_it_is_scipys(shape: tuple[int, int, int], scales: int) -> None:
    a = pictures(2, *shape)
    b = noisy(a, 30)
    expected = [by_scipy(x, y, scales) for x, y in zip(a, b, strict=True)]
    assert 0.2 < min(expected) < max(expected) < 0.99
    np.testing.assert_allclose(ms_ssim(a, b, scales=scales), expected, atol=1e-5)


def test_one_scale_is_ssim_which_may_be_negative() -> None:
    a = pictures(3, 20, 17)
    b = 255 - a
    expected = [components(x[..., 0].astype(np.float64), y[..., 0].astype(np.float64))[0] for x, y in zip(a, b, strict=True)]
    assert max(expected) < 0
    np.testing.assert_allclose(ms_ssim(a, b, scales=1), expected, atol=1e-5)
    a = pictures(3, 28, 28)
    assert (ms_ssim(a, 255 - a, scales=2) == 0).all()


def test_of_two_grey_planes_it_is_the_luminance_alone() -> None:
    a, b = np.full((1, 28, 28, 1), 100, np.uint8), np.full((1, 28, 28, 1), 150, np.uint8)
    luminance = (2 * 100 * 150 + 2.55**2) / (100**2 + 150**2 + 2.55**2)
    np.testing.assert_allclose(ms_ssim(a, b, scales=2), luminance ** (0.2856 / (0.0448 + 0.2856)), rtol=1e-5)


def test_equal_images_are_at_one_and_noise_lowers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    a = pictures(5, 28, 28)
    np.testing.assert_allclose(ms_ssim(a, a, scales=2), 1, atol=1e-5)
    values = np.stack([ms_ssim(a, noisy(a, std), scales=2) for std in (5, 20, 80)])
    assert (np.diff(values, axis=0) < 0).all()
    b = noisy(a, 20)
    whole = ms_ssim(a, b, scales=2)
    np.testing.assert_allclose(ms_ssim(b, a, scales=2), whole, rtol=1e-5)
    monkeypatch.setattr(module, "PAIRS", 3)
    np.testing.assert_allclose(ms_ssim(a, b, scales=2), whole, rtol=1e-5)


def test_small_images_are_refused_with_the_scales_that_fit() -> None:
    a = pictures(1, 32, 40)
    with pytest.raises(ValueError, match="images of 32x40 have 2 scales into which a window of 11 fits; got scales=5"):
        ms_ssim(a, a)
    with pytest.raises(ValueError, match="got scales=0"):
        ms_ssim(a, a, scales=0)
    for side in range(1, 200):
        sizes = [side]
        while len(sizes) < 5:
            sizes.append(halved(np.zeros((sizes[-1], 1))).shape[0])
        assert scales_that_fit(side, 200) == sum(s >= 11 for s in sizes)


@pytest.mark.filterwarnings("ignore::jaxgen.errors.FewExamplesWarning")
def test_diversity_is_the_mean_over_pairs_of_different_images() -> None:
    images = pictures(3, 22, 22)
    pairs = [ms_ssim(images[[i]], images[[j]], scales=2)[0] for i in range(3) for j in range(3) if i != j]
    found = diversity(images, pairs=128, seed=0, scales=2)
    assert found == pytest.approx(np.mean(pairs), abs=4 * np.std(pairs) / np.sqrt(128))
    assert found == diversity(images, pairs=128, seed=0, scales=2)
    assert found != diversity(images, pairs=128, seed=1, scales=2)
    assert diversity(np.repeat(images[:1], 4, axis=0), pairs=7, seed=0, scales=2) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="two images; got 1"):
        diversity(images[:1], pairs=3, seed=0, scales=2)
