"""What a network predicts of x_t = alpha x_0 + sigma eps: the noise, the data, their rotation v, or the score."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.diffusion.process import expand
from jaxgen.diffusion.schedules import Level


class Parameterisation(NamedTuple):
    """The meaning of a network's output.

    Fields:
      target: the function `(x0, eps, level) -> output` that a network would be which knew both.
      x0: the function `(output, x_t, level) -> x0`.
      eps: the function `(output, x_t, level) -> eps`.
    """

    target: Callable[[Array, Array, Level], Array]
    x0: Callable[[Array, Array, Level], Array]
    eps: Callable[[Array, Array, Level], Array]


class Prediction(NamedTuple):
    r"""What is expected of the data and of the noise given x_t; they satisfy $x_t = \alpha x_0 + \sigma \epsilon$.

    The score is $\nabla \log q(x_t) = -\epsilon / \sigma$.
    """

    x0: Float[Array, "b *event"]
    eps: Float[Array, "b *event"]


Denoise: TypeAlias = Callable[[Array, Level], Prediction]
"""`denoise(x_t [B, ...], level) -> Prediction`: all that samplers and bounds know of a model."""


def _a(level: Level, x: Array) -> Array:
    return expand(level.alpha, x)


def _s(level: Level, x: Array) -> Array:
    return expand(level.sigma, x)


EPSILON = Parameterisation(
    target=lambda x0, eps, level: eps,
    x0=lambda out, xt, level: (xt - _s(level, xt) * out) / _a(level, xt),
    eps=lambda out, xt, level: out,
)
"""The noise. Source: Ho et al. 2020, equation 11."""

X0 = Parameterisation(
    target=lambda x0, eps, level: x0,
    x0=lambda out, xt, level: out,
    eps=lambda out, xt, level: (xt - _a(level, xt) * out) / _s(level, xt),
)
"""The data. Source: Ho et al. 2020, section 3.2."""


def _square(level: Level, x: Array) -> Array:
    # One where the variance is preserved; with it the inverse is exact for any alpha and sigma.
    return _a(level, x) ** 2 + _s(level, x) ** 2


V = Parameterisation(
    target=lambda x0, eps, level: _a(level, x0) * eps - _s(level, x0) * x0,
    x0=lambda out, xt, level: (_a(level, xt) * xt - _s(level, xt) * out) / _square(level, xt),
    eps=lambda out, xt, level: (_s(level, xt) * xt + _a(level, xt) * out) / _square(level, xt),
)
r"""The velocity $v = \alpha \epsilon - \sigma x_0$. Source: Salimans & Ho 2022, appendix D."""

SCORE = Parameterisation(
    target=lambda x0, eps, level: -eps / _s(level, x0),
    x0=lambda out, xt, level: (xt + _s(level, xt) ** 2 * out) / _a(level, xt),
    eps=lambda out, xt, level: -_s(level, xt) * out,
)
r"""The score $\nabla_{x_t} \log q(x_t | x_0) = -\epsilon / \sigma$. Source: Song & Ermon 2019, equation 4."""


def denoiser(
    network: Callable[[Array, Array], Array], parameterisation: Parameterisation, *, clip: tuple[float, float] | None = None
) -> Denoise:
    r"""A network as a function of noise levels.

    Args:
      network: the network, `(x_t [B, ...], time [B]) -> output [B, ...]`.
      parameterisation: the parameterisation, which says what the output means.
      clip: the range of the data. The predicted x_0 is brought into it, and the noise is what then explains x_t.

    Returns:
      `denoise(x_t, level) -> Prediction`, in float32.
    """

    def denoise(xt: Array, level: Level) -> Prediction:
        out = network(xt, jnp.broadcast_to(level.time, xt.shape[:1])).astype(jnp.float32)
        x0, eps = parameterisation.x0(out, xt, level), parameterisation.eps(out, xt, level)
        if clip is None:
            return Prediction(x0, eps)
        x0 = jnp.clip(x0, *clip)
        return Prediction(x0, X0.eps(x0, xt, level))

    return denoise
