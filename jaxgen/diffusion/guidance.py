r"""Guidance and limits of predictions: functions from one denoiser to another, which know of no network.

Each gives a prediction $\hat x_0$ and the noise that explains $x_t$ with it. Guidance is affine at a fixed level, so guiding
the data, the noise or the score is the same. Limits are not affine: guide first, then clip. A learned variance stays the
conditional model's.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.diffusion.parameterisation import X0, Denoise, Prediction
from jaxgen.diffusion.process import expand
from jaxgen.diffusion.schedules import Level

LogProb: TypeAlias = Callable[[Array, Level], Array]
"""`log_prob(x_t, level) -> [B]`: log p(y | x_t) of each example's own class, by a classifier that knows the noise level."""


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
      The guided denoiser, which calls both; with a scale that is the number 1, the conditional one itself.

    Source: Ho & Salimans 2022, equation 6; the interval: Kynkäänniemi et al. 2024, equation 5.

    >>> from jaxgen.diffusion import linear
    >>> at = lambda value: lambda x, level: Prediction(value + 0 * x, 0 * x)
    >>> guided = classifier_free(at(1.0), at(0.5), 3.0)
    >>> guided(jnp.zeros((1, 2)), linear(5).level(2)).x0.tolist()
    [[2.0, 2.0]]
    """
    if isinstance(scale, int | float) and scale == 1:
        return conditional

    def denoise(xt: Array, level: Level) -> Prediction:
        c, u = conditional(xt, level), unconditional(xt, level)
        s: float | Array = scale
        if interval is not None:
            ratio = expand(level.sigma / level.alpha, xt)
            s = jnp.where((ratio >= interval[0]) & (ratio <= interval[1]), scale, 1.0)
        return Prediction(u.x0 + s * (c.x0 - u.x0), u.eps + s * (c.eps - u.eps), c.v)

    return denoise


def autoguided(strong: Denoise, weak: Denoise, scale: float | Array, *, interval: tuple[float, float] | None = None) -> Denoise:
    r"""Autoguidance, $D = D_0 + w\, (D_1 - D_0)$: a model D_1 guided by a worse version D_0 of itself.

    Both have the same condition, or none. The worse one errs in the same way and by more, so that w > 1 leads away from what
    neither can tell from data. It is `classifier_free` with the weak model in the place of the unconditional one.

    Args:
      strong: the denoiser that is guided.
      weak: the denoiser that guides it, of a smaller network or of one that was trained less.
      scale: the weight w; 0 is the weak model, and 1 the strong one without guidance.
      interval: the range of $\sigma_t / \alpha_t$ within which predictions are guided; elsewhere they are the strong ones. None
        guides all.

    Returns:
      The guided denoiser, which calls both; with a weight that is the number 1, the strong one itself.

    Source: Karras et al. 2024 (Guiding a diffusion model with a bad version of itself); the authors' code
    (github.com/NVlabs/edm2, generate_images.py, `edm_sampler`).

    >>> from jaxgen.diffusion import linear
    >>> at = lambda value: lambda x, level: Prediction(value + 0 * x, 0 * x)
    >>> autoguided(at(1.0), at(0.5), 2.0)(jnp.zeros((1, 2)), linear(5).level(2)).x0.tolist()
    [[1.5, 1.5]]
    """
    return classifier_free(strong, weak, scale, interval=interval)


def classifier(denoise: Denoise, log_prob: LogProb, scale: float | Array) -> Denoise:
    r"""Classifier guidance, $\hat\epsilon = \hat\epsilon_u - s\, \sigma_t \nabla_{x_t} \log p(y | x_t)$.

    The prediction of the data moves by $s\, \frac{\sigma_t^2}{\alpha_t} \nabla \log p$. This is the paper's algorithm 2, and
    one shift of the score for every sampler. Its algorithm 1 moves the mean of an ancestral step by $s\, \Sigma_t \nabla \log
    p$, with $\Sigma_t$ the step's variance. The shift here moves that mean by $s\, \beta_t / \alpha_{t|t-1} \nabla \log p$. The
    two agree as steps get shorter where $\Sigma_t = \beta_t$; with $\Sigma_t = \tilde\beta_t$ algorithm 1 guides less, by
    $\sigma_{t-1}^2 / \sigma_t^2$, which matters at the last steps.

    Args:
      denoise: the denoiser without a condition. The authors clip what it predicts, and not what is guided.
      log_prob: the log-probability of each example's class, trained on data of the same noise. Each example's may depend on
        that example alone.
      scale: the scale s; 0 guides nothing, and 1 samples the classes' own laws if both are exact.

    Returns:
      The guided denoiser.

    Source: Dhariwal & Nichol 2021, algorithms 1 and 2 and equation 14; the authors' code, `condition_score`.

    >>> from jaxgen.diffusion import from_betas
    >>> level = from_betas([0.36]).level(1)  # alpha = 0.8, sigma = 0.6
    >>> guided = classifier(lambda x, level: Prediction(0 * x, 0 * x), lambda x, level: x.sum(-1), 2.0)
    >>> x0, eps, _ = guided(jnp.zeros((1, 2)), level)
    >>> bool(jnp.allclose(x0, 0.9)), bool(jnp.allclose(eps, -1.2))
    (True, True)
    """

    def denoise_guided(xt: Array, level: Level) -> Prediction:
        x0, eps, v = denoise(xt, level)
        # The gradient of the sum is each example's own gradient.
        gradient = jax.grad(lambda x: log_prob(x, level).sum())(xt)
        alpha, sigma = expand(level.alpha, xt), expand(level.sigma, xt)
        return Prediction(x0 + scale * sigma**2 / alpha * gradient, eps - scale * sigma * gradient, v)

    return denoise_guided


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
