r"""Guidance and limits of predictions: functions from one denoiser to another, which know of no network.

Each gives a prediction $\hat x_0$ and the noise that explains $x_t$ with it. Guidance is affine at a fixed level, so guiding
the data, the noise or the score is the same. Limits are not affine: guide first, then clip. A learned variance stays the
conditional model's.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.diffusion.parameterisation import X0, Denoise, Prediction
from jaxgen.diffusion.process import expand
from jaxgen.diffusion.schedules import Level


def classifier_free(
    conditional: Denoise, unconditional: Denoise, scale: float | Array, *, interval: tuple[float, float] | None = None
) -> Denoise:
    r"""Classifier-free guidance, $\hat\epsilon = \hat\epsilon_u + s\, (\hat\epsilon_c - \hat\epsilon_u)$.

    With s = 0 the condition has no part, with s = 1 nothing is guided, and with s > 1 the score is that of $p(x_t) p(c |
    x_t)^s$. The paper writes w = s - 1.

    Args:
      conditional: the denoiser with the condition.
      unconditional: the denoiser without a condition.
      scale: the scale s.
      interval: the range of $\sigma_t / \alpha_t$ within which predictions are guided; elsewhere they are the conditional ones.
        None guides all.

    Returns:
      The guided denoiser, which calls both.

    Source: Ho & Salimans 2022, equation 6; the interval: Kynkäänniemi et al. 2024, equation 5.

    >>> from jaxgen.diffusion import linear
    >>> at = lambda value: lambda x, level: Prediction(value + 0 * x, 0 * x)
    >>> guided = classifier_free(at(1.0), at(0.5), 3.0)
    >>> guided(jnp.zeros((1, 2)), linear(5).level(2)).x0.tolist()
    [[2.0, 2.0]]
    """

    def denoise(xt: Array, level: Level) -> Prediction:
        c, u = conditional(xt, level), unconditional(xt, level)
        s: float | Array = scale
        if interval is not None:
            ratio = expand(level.sigma / level.alpha, xt)
            s = jnp.where((ratio >= interval[0]) & (ratio <= interval[1]), scale, 1.0)
        return Prediction(u.x0 + s * (c.x0 - u.x0), u.eps + s * (c.eps - u.eps), c.v)

    return denoise


def rescaled(denoise: Denoise, conditional: Denoise, share: float) -> Denoise:
    r"""Brings the spread of guided predictions back to that of the conditional ones, in part.

    $\hat x_0 \leftarrow \hat x_0\, (\phi\, \mathrm{std}(\hat x_0^c) / \mathrm{std}(\hat x_0) + 1 - \phi)$, with the standard
    deviation over the numbers of each example. Guidance with a large scale makes images of too much contrast.

    Args:
      denoise: the guided denoiser.
      conditional: the denoiser with the condition.
      share: the share $\phi$; the paper's is 0.7.

    Returns:
      The denoiser.

    Source: Lin et al. 2024, equations 15 and 16, there of the network's output and here of $\hat x_0$.
    """

    def deviation(x: Array) -> Array:
        return x.std(tuple(range(1, x.ndim)), keepdims=True)

    def rescale(xt: Array, level: Level) -> Prediction:
        x0, _, v = denoise(xt, level)
        ratio = deviation(conditional(xt, level).x0) / jnp.maximum(deviation(x0), jnp.finfo(x0.dtype).tiny)
        return explained(x0 * (share * ratio + 1 - share), xt, level, v)

    return rescale


def clipped(denoise: Denoise, low: float, high: float) -> Denoise:
    """Brings predictions of the data into their range.

    Args:
      denoise: a denoiser.
      low: the smallest value of the data.
      high: the largest value of the data.

    Returns:
      The denoiser.

    Source: Ho et al. 2020, the authors' code.
    """

    def clip(xt: Array, level: Level) -> Prediction:
        x0, _, v = denoise(xt, level)
        return explained(jnp.clip(x0, low, high), xt, level, v)

    return clip


def dynamic_threshold(denoise: Denoise, quantile: float = 0.995) -> Denoise:
    r"""Brings predictions into [-1, 1] by their own size: $\hat x_0 \leftarrow \mathrm{clip}(\hat x_0, -s, s) / s$.

    s is a quantile of the numbers' absolute values in each example, at least 1. Where a few numbers lie outside of the range
    they are clipped; where many do, all are drawn inwards, and colours do not saturate.

    Args:
      denoise: a denoiser of data in [-1, 1].
      quantile: the quantile.

    Returns:
      The denoiser.

    Source: Saharia et al. 2022, section 2.3.
    """

    def threshold(xt: Array, level: Level) -> Prediction:
        x0, _, v = denoise(xt, level)
        size = jnp.quantile(jnp.abs(x0).reshape(len(x0), -1), quantile, axis=1)
        s = expand(jnp.maximum(size, 1.0), x0)
        return explained(jnp.clip(x0, -s, s) / s, xt, level, v)

    return threshold


def explained(
    x0: Float[Array, "b *event"], xt: Float[Array, "b *event"], level: Level, v: Float[Array, "b *event"] | None = None
) -> Prediction:
    r"""A prediction of the data with the noise that then explains x_t, $\hat\epsilon = (x_t - \alpha \hat x_0) / \sigma$."""
    return Prediction(x0, X0.eps(x0, xt, level), v)
