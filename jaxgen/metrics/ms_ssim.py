"""Multi-scale structural similarity of pairs of images, and how alike the samples of a model are by it."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxgen.metrics import blocks
from jaxgen.metrics.inputs import check_finite, warn_few
from jaxgen.progress import Track
from jaxgen.progress import track as show

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The weights of the scales, from the finest on."""

WINDOW, STD, K1, K2 = 11, 1.5, 0.01, 0.03

PAIRS = 64
"""Pairs on a device at a time: memory does not grow with their number."""


def scales_that_fit(height: int, width: int) -> int:
    """The number of the five scales at which the window fits into an image.

    >>> [scales_that_fit(*shape) for shape in ((28, 28), (64, 64), (160, 160), (161, 161), (10, 99))]
    [2, 3, 4, 5, 0]
    """
    return sum(math.ceil(min(height, width) / 2**scale) >= WINDOW for scale in range(len(WEIGHTS)))


def ms_ssim(
    a: UInt8[np.ndarray, "n h w c"], b: UInt8[np.ndarray, "n h w c"], *, scales: int = len(WEIGHTS)
) -> Float[np.ndarray, " n"]:
    r"""MS-SSIM of each pair, $l_M^{w_M} \prod_{j=1}^M cs_j^{w_j}$.

    At a scale, means, variances and the covariance are those below a Gaussian window of 11 by 11 pixels and standard deviation
    1.5, wherever it fits into the image: $l = \frac{2 \mu_a \mu_b + C_1}{\mu_a^2 + \mu_b^2 + C_1}$ and
    $cs = \frac{2 \sigma_{ab} + C_2}{\sigma_a^2 + \sigma_b^2 + C_2}$ with $C_i = (255 K_i)^2$, averaged over the places. The
    next scale is the means of squares of 2 by 2 pixels, an odd edge mirrored. A negative average of cs is 0. Channels are
    compared one by one, and averaged at the end.

    Args:
      a: images.
      b: images that they are compared with, row by row.
      scales: the number of scales M. Five are the paper's. Fewer are for images of less than 161 pixels and are *another
        protocol*, whose values are not to be compared with those of five; the weights of the finest M are then brought to a sum
        of one. One is SSIM.

    Returns:
      One value per pair, in [0, 1] for M > 1; 1 for equal images. In float32, good to 1e-5.

    Raises:
      ValueError: if the window does not fit into the coarsest scale (it says how many scales fit), or a pixel is not finite.

    Source: Wang, Simoncelli & Bovik 2003, equation 7.
    """
    check_finite(images_a=a, images_b=b)
    fit = scales_that_fit(*a.shape[1:3])
    if not 1 <= scales <= fit:
        raise ValueError(
            f"images of {a.shape[1]}x{a.shape[2]} have {fit} scales into which a window of {WINDOW} fits; got scales={scales}"
        )
    values = [_ms_ssim(blocks.cut(a[span]), blocks.cut(b[span]), scales) for span in blocks.spans(len(a), PAIRS)]
    return np.concatenate([np.asarray(v) for v in values])


def diversity(
    images: UInt8[np.ndarray, "n h w c"], *, pairs: int, seed: int, scales: int = len(WEIGHTS), track: Track = show
) -> float:
    """Mean MS-SSIM of random pairs of different images: the lower, the more varied; of samples of one class by convention.

    Args:
      images: samples, or data for the value that samples are compared with.
      pairs: the number of pairs that are drawn, with repetition; the paper takes 100 for each class.
      seed: the seed of the draw.
      scales: the number of scales, as in `ms_ssim`.
      track: a function that shows the progress.

    Returns:
      The mean.

    Raises:
      ValueError: if there are no two images, or as `ms_ssim`.

    Warns:
      FewExamplesWarning: if more pairs are drawn than there are.

    Source: Odena, Olah & Shlens 2017, section 4.3.
    """
    n = len(images)
    if n < 2 or pairs < 1:
        raise ValueError(f"pairs want two images; got {n} of them and {pairs} pairs")
    warn_few(caution(n, pairs))
    rng = np.random.default_rng(seed)
    first = rng.integers(n, size=pairs)
    second = (first + rng.integers(1, n, size=pairs)) % n
    parts = track(blocks.spans(pairs, PAIRS), description="similarity of pairs")
    values = [ms_ssim(images[first[span]], images[second[span]], scales=scales) for span in parts]
    return float(np.concatenate(values).mean(dtype=np.float64))


def caution(n: int, pairs: int) -> str | None:
    """The warning about so many pairs of n images, if there are not as many; else None."""
    there = n * (n - 1) // 2
    return None if pairs <= there else f"{pairs:,} pairs are drawn of {n:,} images, which have {there:,}: the same ones again"


@partial(jax.jit, static_argnames="scales")
def _ms_ssim(a: Array, b: Array, scales: int) -> Array:
    # About the middle, which variances do not feel: the squares that are subtracted are then smaller.
    a, b = (x.astype(jnp.float32) / 255 - 0.5 for x in (a, b))
    total = sum(WEIGHTS[:scales])
    value = jnp.ones((a.shape[0], a.shape[3]))
    for scale in range(scales):
        luminance, structure = _compare(a, b)
        last = scale == scales - 1
        mean = ((luminance * structure) if last else structure).mean((1, 2))
        if scales > 1:  # SSIM itself may be below 0.
            mean = jnp.maximum(mean, 0.0) ** (WEIGHTS[scale] / total)
        value, a, b = value * mean, _halve(a), _halve(b)
    return value.mean(1)


def _compare(a: Array, b: Array) -> tuple[Array, Array]:
    """Luminance, and contrast with structure, at every place of the window."""
    mu_a, mu_b = _blur(a), _blur(b)
    var_a, var_b, cov = _blur(a * a) - mu_a**2, _blur(b * b) - mu_b**2, _blur(a * b) - mu_a * mu_b
    mu_a, mu_b = mu_a + 0.5, mu_b + 0.5
    luminance = (2 * mu_a * mu_b + K1**2) / (mu_a**2 + mu_b**2 + K1**2)
    return luminance, (2 * cov + K2**2) / (var_a + var_b + K2**2)


def _blur(x: Array) -> Array:
    # As products with band matrices, in full precision: a convolution's is the device's own.
    rows, columns = (jnp.asarray(_band(size), jnp.float32) for size in x.shape[1:3])
    return jnp.einsum("ih,nhwc,jw->nijc", rows, x, columns, precision=jax.lax.Precision.HIGHEST)


def _band(size: int) -> np.ndarray:
    """The window along one axis, at every place where it fits, `[size - 10, size]`."""
    window = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * STD**2))
    places = size - WINDOW + 1
    return np.stack([np.pad(window / window.sum(), (i, places - 1 - i)) for i in range(places)])


def _halve(x: Array) -> Array:
    h, w = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="symmetric")
    return x.reshape(x.shape[0], -(-h // 2), 2, -(-w // 2), 2, x.shape[3]).mean((2, 4))
