"""Multi-scale structural similarity, put together from torchmetrics' similarity of each scale.

Its own multi-scale value takes the last scale's over padded edges too; this one takes all scales where the window fits.
"""

import fidelity
import numpy as np
import pytest

from jaxgen.metrics.ms_ssim import WEIGHTS, ms_ssim

fidelity.load()  # torchmetrics asks for it where it is installed, and it for torchvision

import torch  # noqa: E402  (skipped above where it is not installed)

reason = "torchmetrics is not installed (pip install --no-deps torchmetrics lightning-utilities)"
theirs = pytest.importorskip("torchmetrics.functional.image", reason=reason).structural_similarity_index_measure

pytestmark = pytest.mark.peers


@pytest.mark.parametrize(("side", "scales"), [(176, 5), (64, 3), (28, 2)])
def test_ms_ssim(side: int, scales: int) -> None:
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(side) * rng.uniform(0.05, 0.5, (4, 1)))
    a = (waves[:, :, None] * waves[:, None] * 100 + 128).astype(np.uint8)[..., None]
    b = np.clip(a + rng.normal(size=a.shape) * 40, 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(images).double().movedim(3, 1) for images in (a, b))
    expected = 1.0
    for scale in range(scales):
        options = {"data_range": 255.0, "reduction": "none"}
        structure = theirs(x, y, return_contrast_sensitivity=True, **options)[1]
        whole = theirs(x, y, return_full_image=True, **options)[1][..., 5:-5, 5:-5].mean((1, 2, 3))
        value = whole if scale == scales - 1 else structure
        expected = expected * value.clamp(min=0) ** (WEIGHTS[scale] / sum(WEIGHTS[:scales]))
        x, y = (torch.nn.functional.avg_pool2d(images, 2) for images in (x, y))
    np.testing.assert_allclose(ms_ssim(a, b, scales=scales), expected, atol=1e-5)
