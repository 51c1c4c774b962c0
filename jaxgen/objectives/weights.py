r"""Weights of the squared error by the level of noise.

A loss weighs the error of the network's output. Papers also weigh that of the noise or that of the data, which are the same
error times a factor that depends on the level alone: `on_noise` and `on_data` multiply by it. So no weight needs to know what a
network predicts, and no digits are lost at small noise.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.diffusion import Continuous, Level, Parameterisation
from jaxgen.types import Array

Weight = Callable[[Level], Array]
"""`weight(level) -> [B]`, of an example's squared error."""


def uniform(level: Level) -> Float[Array, "..."]:
    """No weight: L_simple, where the output is the noise. Source: Ho et al. 2020, equation 14."""
    return jnp.ones_like(level.sigma)


def by_variance(level: Level) -> Float[Array, "..."]:
    r"""$\lambda(\sigma) = \sigma^2$: all scores then have errors of one size. Source: Song & Ermon 2019, section 4.2."""
    return level.sigma**2


def on_noise(weight: Weight, parameterisation: Parameterisation) -> Weight:
    r"""A weight of the noise's error, as a weight of the output's.

    The noise's error is the output's times the square of $\partial \hat\epsilon / \partial F$, a function of the level alone.

    Args:
      weight: the weight of $\|\hat\epsilon - \epsilon\|^2$.
      parameterisation: the parameterisation of the network.

    Returns:
      The weight of $\|F - F^*\|^2$.

    >>> from jaxgen.diffusion import X0, linear
    >>> level = linear(10).level(jnp.array([3]))
    >>> snr = (level.alpha / level.sigma) ** 2
    >>> bool(jnp.allclose(on_noise(uniform, X0)(level), snr))
    True
    """
    return lambda level: weight(level) * _slope(parameterisation.eps, level) ** 2


def on_data(weight: Weight, parameterisation: Parameterisation) -> Weight:
    r"""A weight of the data's error, as a weight of the output's.

    Args:
      weight: the weight of $\|\hat x_0 - x_0\|^2$.
      parameterisation: the parameterisation of the network.

    Returns:
      The weight of $\|F - F^*\|^2$.
    """
    return lambda level: weight(level) * _slope(parameterisation.x0, level) ** 2


def _slope(prediction: Callable[[Array, Array, Level], Array], level: Level) -> Float[Array, "..."]:
    """The change of a prediction with the output: predictions are affine in it, so it is their difference at 1 and 0."""
    nothing = jnp.zeros_like(level.sigma)
    return prediction(nothing + 1, nothing, level) - prediction(nothing, nothing, level)


def p2(offset: float = 1.0, power: float = 1.0) -> Weight:
    r"""$(k + \mathrm{SNR})^{-\gamma}$ on the noise's error: less weight where the noise is too small to hide anything.

    Args:
      offset: the offset k.
      power: the power $\gamma$; 0 weighs uniformly.

    Returns:
      The weight of the noise's error.

    Source: Choi et al. 2022, equation 8; the numerator is 1 because the base is L_simple, as in the authors' code.
    """
    return lambda level: (offset + snr(level)) ** -power


def min_snr(largest: float = 5.0) -> Weight:
    r"""$\min(\mathrm{SNR}, \gamma) / \mathrm{SNR}$ on the noise's error: on the data's, the SNR where it is below a bound.

    Args:
      largest: the bound $\gamma$ on the signal-to-noise ratio.

    Returns:
      The weight of the noise's error.

    Source: Hang et al. 2023, section 3.4.
    """
    return lambda level: jnp.minimum(1.0, largest / snr(level))


def edm(data_std: float) -> Weight:
    r"""$(\sigma^2 + s_d^2) / (\sigma s_d)^2$ on the data's error, which is 1 on the output of `diffusion.edm`.

    Args:
      data_std: the standard deviation $s_d$ of the data's numbers.

    Returns:
      The weight of the data's error. For alpha other than 1, of $\sigma / \alpha$.

    Source: Karras et al. 2022, equation 144 and table 1.
    """
    return lambda level: snr(level) + 1 / data_std**2


def likelihood(schedule: Continuous) -> Weight:
    r"""$g(t)^2 / \sigma_t^2$ on the noise's error: the loss is then twice a bound on $-\log p(x_0)$, for t that are uniform.

    It is the derivative of $-\log \mathrm{SNR}$; half of it is the weight of a variational diffusion model.

    Args:
      schedule: the schedule, whose times the levels hold.

    Returns:
      The weight of the noise's error.

    Source: Song et al. 2021 (maximum likelihood training), equation 7; Kingma et al. 2021, equation 17.
    """
    return lambda level: schedule.squared_diffusion(level.time) / level.sigma**2


def snr(level: Level) -> Float[Array, "..."]:
    r"""The signal-to-noise ratio $\alpha^2 / \sigma^2$."""
    return (level.alpha / level.sigma) ** 2
