"""The forward process and its posterior."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgen.diffusion.schedules import Discrete, Level


def expand(a: Float[Array, "..."], x: Float[Array, "b *event"]) -> Float[Array, "..."]:
    """A scalar, or one number an example `[B]`, with axes to multiply x by."""
    return a if a.ndim == 0 else a.reshape(-1, *(1,) * (x.ndim - 1))


def diffuse(x0: Float[Array, "b *event"], eps: Float[Array, "b *event"], level: Level) -> Float[Array, "b *event"]:
    r"""A sample of the marginal, $x_t = \alpha_t x_0 + \sigma_t \epsilon$.

    Args:
      x0: data.
      eps: standard normal noise.
      level: alpha and sigma, for all or for each.

    Returns:
      The noisy data.

    Source: Ho et al. 2020, equation 4.
    """
    return expand(level.alpha, x0) * x0 + expand(level.sigma, x0) * eps


def forward(schedule: Discrete, x0: Float[Array, "b *event"], key: PRNGKeyArray) -> Float[Array, "t b *event"]:
    r"""A path of the chain, $x_t = \alpha_{t|t-1} x_{t-1} + \sqrt{\beta_t}\, z$: all of it, to be looked at.

    Args:
      schedule: the chain; a `subsequence` of a long one.
      x0: data.
      key: the key of the noise.

    Returns:
      x_0 ... x_T.

    Source: Ho et al. 2020, equation 2.
    """

    def step(x: Array, coefficients: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        scale, std, key = coefficients
        x = scale * x + std * jax.random.normal(key, x.shape)
        return x, x

    keys = jax.random.split(key, schedule.steps)
    scales, stds = (jnp.asarray(a[1:], jnp.float32) for a in (schedule.scale, np.sqrt(schedule.beta)))
    _, path = lax.scan(step, x0, (scales, stds, keys))
    return jnp.concatenate([x0[None], path])


def posterior(
    schedule: Discrete, t: Int[Array, "..."] | int, x0: Float[Array, "b *event"], xt: Float[Array, "b *event"]
) -> tuple[Float[Array, "b *event"], Float[Array, "..."]]:
    r"""$q(x_{t-1} | x_t, x_0) = N(\tilde\mu_t, \tilde\beta_t I)$.

    $\tilde\mu_t = \frac{\alpha_{t-1} \beta_t}{\sigma_t^2} x_0 + \frac{\alpha_{t|t-1} \sigma_{t-1}^2}{\sigma_t^2} x_t$; of a
    variance-preserving chain $\frac{\sqrt{\bar\alpha_{t-1}} \beta_t}{1 - \bar\alpha_t} x_0 + \frac{\sqrt{1 - \beta_t}
    (1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t} x_t$.

    Args:
      schedule: the chain.
      t: steps, for all or for each (`[B]`), from 1 ... T.
      x0: data, or a prediction of it.
      xt: the noisy data at step t.

    Returns:
      The mean, and the variance as it lies in the schedule (a scalar or `[B]`).

    Source: Ho et al. 2020, equation 7.
    """
    of_x0, of_xt, variance = (
        jnp.asarray(a, jnp.float32)[t] for a in (schedule.posterior_x0, schedule.posterior_xt, schedule.posterior_variance)
    )
    return expand(of_x0, x0) * x0 + expand(of_xt, xt) * xt, variance
