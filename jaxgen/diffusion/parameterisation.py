r"""Parameterisations: what a network predicts of $x_t = \alpha x_0 + \sigma \epsilon$, its scaled input and its time.

A target is $a x_0 + b \epsilon$, with two functions a and b of the level. From them follow both predictions, with
$d = \alpha b - \sigma a$: $\hat x_0 = (b x_t - \sigma F) / d$ and $\hat\epsilon = (\alpha F - a x_t) / d$.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.diffusion.process import expand
from jaxgen.diffusion.schedules import Level

OfLevel: TypeAlias = Callable[[Level], Array]
"""A number for each level: `level -> [...]`."""


def one(level: Level) -> Float[Array, "..."]:
    """1 at every level."""
    return jnp.ones_like(level.alpha)


def zero(level: Level) -> Float[Array, "..."]:
    """0 at every level."""
    return jnp.zeros_like(level.alpha)


def own_time(level: Level) -> Float[Array, "..."]:
    """The time as the schedule counts it."""
    return level.time


class Parameterisation(NamedTuple):
    """The meaning of a network's output, and what the network is given.

    Fields:
      target: the function `(x0, eps, level) -> output` that a network would be which knew both.
      x0: the function `(output, x_t, level) -> x0`.
      eps: the function `(output, x_t, level) -> eps`.
      input: the function `level -> c`: the network gets c x_t.
      time: the function `level -> time`: the network gets this time.
    """

    target: Callable[[Array, Array, Level], Array]
    x0: Callable[[Array, Array, Level], Array]
    eps: Callable[[Array, Array, Level], Array]
    input: OfLevel = one
    time: OfLevel = own_time

    def given(self, xt: Float[Array, "b *event"], level: Level) -> tuple[Array, Array]:
        """The inputs of the network: the scaled x_t, and the time of each example."""
        return expand(self.input(level), xt) * xt, jnp.broadcast_to(self.time(level), xt.shape[:1])

    def prediction(self, out: Float[Array, "b *shape"], xt: Float[Array, "b *event"], level: Level) -> "Prediction":
        """The meaning of an output; if it has twice the channels of x_t, their second half is v of a learned variance."""
        v = None
        if out.shape[-1] == 2 * xt.shape[-1]:
            out, v = jnp.split(out, 2, axis=-1)
        return Prediction(self.x0(out, xt, level), self.eps(out, xt, level), v)


class Prediction(NamedTuple):
    r"""The expected data and the expected noise given x_t, which satisfy $x_t = \alpha x_0 + \sigma \epsilon$.

    The score is $\nabla \log q(x_t) = -\epsilon / \sigma$.

    Fields:
      x0: the expected data.
      eps: the expected noise.
      v: the place of the log of the reverse variance in its range, -1 at the lower end and 1 at the upper (`learned_range`);
        None of a network that predicts no variance.
    """

    x0: Float[Array, "b *event"]
    eps: Float[Array, "b *event"]
    v: Float[Array, "b *event"] | None = None


Denoise: TypeAlias = Callable[[Array, Level], Prediction]
"""`denoise(x_t [B, ...], level) -> Prediction`: all that samplers and bounds know of a model."""


def of_target(a: OfLevel, b: OfLevel, *, input: OfLevel = one, time: OfLevel = own_time) -> Parameterisation:
    r"""The parameterisation whose target is $a x_0 + b \epsilon$.

    Args:
      a: the share of the data in the target, a function of the level.
      b: the share of the noise in the target, a function of the level.
      input: the factor of x_t in the network's input, a function of the level.
      time: the time that the network gets, a function of the level.

    Returns:
      The parameterisation. Where $d = \alpha b - \sigma a$ is zero the output says nothing, and predictions are not finite.

    >>> middle = Level(*map(jnp.float32, (0.5, 0.8, 0.6)))
    >>> half = of_target(lambda level: 0.5 * one(level), zero)
    >>> half.x0(jnp.array([[1.0]]), jnp.array([[0.2]]), middle).tolist()
    [[2.0]]
    """

    def target(x0: Array, eps: Array, level: Level) -> Array:
        return expand(a(level), x0) * x0 + expand(b(level), x0) * eps

    def d(level: Level) -> Array:
        return level.alpha * b(level) - level.sigma * a(level)

    def data(out: Array, xt: Array, level: Level) -> Array:
        return (expand(b(level), xt) * xt - expand(level.sigma, xt) * out) / expand(d(level), xt)

    def noise(out: Array, xt: Array, level: Level) -> Array:
        return (expand(level.alpha, xt) * out - expand(a(level), xt) * xt) / expand(d(level), xt)

    return Parameterisation(target, data, noise, input, time)


def timed(parameterisation: Parameterisation, time: OfLevel) -> Parameterisation:
    """The same parameterisation for a network that gets another time.

    >>> timed(EPSILON, lambda level: 999 * level.time).time(Level(*map(jnp.float32, (0.5, 0.8, 0.6)))).item()
    499.5
    """
    return parameterisation._replace(time=time)


def time_by_gamma(low: float, high: float) -> OfLevel:
    r"""The time of a network that gets the noise itself, whatever the schedule: $(\gamma - \gamma_0) / (\gamma_1 - \gamma_0)$.

    Args:
      low: the $\gamma = -\log \mathrm{SNR}$ of time 0.
      high: the $\gamma$ of time 1.

    Returns:
      A time for `timed`.

    Source: Kingma et al. 2021, the authors' code (`ScoreUNet`).

    >>> time_by_gamma(-10.0, 10.0)(Level(*map(jnp.float32, (0.3, 0.6, 0.6)))).item()
    0.5
    """
    return lambda level: (2 * (jnp.log(level.sigma) - jnp.log(level.alpha)) - low) / (high - low)


EPSILON = of_target(zero, one)
"""The noise. Source: Ho et al. 2020, equation 11."""

X0 = of_target(one, zero)
"""The data. Source: Ho et al. 2020, section 3.2."""

V = of_target(lambda level: -level.sigma, lambda level: level.alpha)
r"""The velocity $v = \alpha \epsilon - \sigma x_0$. Source: Salimans & Ho 2022, appendix D."""

SCORE = of_target(zero, lambda level: -1 / level.sigma)
r"""The score $\nabla_{x_t} \log q(x_t | x_0) = -\epsilon / \sigma$. Source: Song & Ermon 2019, equation 4."""

VELOCITY = of_target(lambda level: -one(level), one)
r"""The velocity $\epsilon - x_0$ of the linear path $x_t = (1 - t) x_0 + t \epsilon$, defined at both of its ends.

Source: Lipman et al. 2023, equation 22; Liu et al. 2023, equation 1; there time runs the other way.
"""


def edm(data_std: float) -> Parameterisation:
    r"""Target and input of unit variance at every level, and an error of the output that is least amplified.

    With $S^2 = \alpha^2 s_d^2 + \sigma^2$ the network gets $x_t / S$, its target is $\frac{\sigma}{s_d S} x_0 - \frac{\alpha
    s_d}{S} \epsilon$, and the time $\frac 1 4 \log \frac \sigma \alpha$. With alpha = 1 this is the paper's $\hat x_0 =
    c_\mathrm{skip} x_t + c_\mathrm{out} F$.

    Args:
      data_std: the standard deviation $s_d$ of the data's numbers; the paper takes 0.5 for images in [-1, 1].

    Returns:
      The parameterisation.

    Source: Karras et al. 2022, table 1 and equation 7.
    """

    def size(level: Level) -> Array:
        return jnp.sqrt((data_std * level.alpha) ** 2 + level.sigma**2)

    return of_target(
        lambda level: level.sigma / (data_std * size(level)),
        lambda level: -data_std * level.alpha / size(level),
        input=lambda level: 1 / size(level),
        time=lambda level: 0.25 * jnp.log(level.sigma / level.alpha),
    )


VE = of_target(zero, lambda level: -one(level), time=lambda level: jnp.log(0.5 * level.sigma / level.alpha))
r"""The noise with its sign turned, $\hat x_0 = x_t + \sigma F$ where alpha = 1, with the time $\log \frac{\sigma}{2 \alpha}$.

Source: Karras et al. 2022, table 1, after Song et al. 2021.
"""


def denoiser(
    network: Callable[[Array, Array], Array], parameterisation: Parameterisation, *, clip: tuple[float, float] | None = None
) -> Denoise:
    r"""A network as a function of noise levels.

    Args:
      network: the network, `(scaled x_t [B, ...], time [B]) -> output [B, ...]`; the output has the channels of x_t, or twice
        as many where the variance is learned.
      parameterisation: the parameterisation, which says what the network is given and what its output means.
      clip: the range of the data. The predicted x_0 is brought into it, and the noise is what then explains x_t.

    Returns:
      `denoise(x_t, level) -> Prediction`, in float32.
    """

    def denoise(xt: Array, level: Level) -> Prediction:
        out = network(*parameterisation.given(xt, level)).astype(jnp.float32)
        found = parameterisation.prediction(out, xt, level)
        if clip is None:
            return found
        x0 = jnp.clip(found.x0, *clip)
        return Prediction(x0, X0.eps(x0, xt, level), found.v)

    return denoise
