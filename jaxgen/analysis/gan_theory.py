"""Theory of the adversarial game in one dimension: the optimal discriminator, the game's value, the generator's slope.

Densities are given by their logarithms; integrals are sums over a fine grid.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.distributions import Normal
from jaxgen.losses import adversarial

LogDensity = Callable[[Float[Array, " n"]], Float[Array, " n"]]


def optimal_logits(log_p: LogDensity, log_q: LogDensity, x: Float[Array, " n"]) -> Float[Array, " n"]:
    r"""The logits of the optimal discriminator, $D^*(x) = \frac{p(x)}{p(x) + q(x)}$: they are $\log p(x) - \log q(x)$.

    Args:
      log_p: the log-density of the data.
      log_q: the log-density of the samples.
      x: the points at which D is evaluated.

    Returns:
      One logit per point.

    Source: Goodfellow et al. 2014, proposition 1.
    """
    return log_p(x) - log_q(x)


def value(logits: Float[Array, " n"], log_p: LogDensity, log_q: LogDensity, x: Float[Array, " n"]) -> Float[Array, ""]:
    r"""The value of the game, $V = \int p(x) \log D(x) + q(x) \log(1 - D(x))\, dx$.

    With the optimal discriminator it is $2\, JSD(p \| q) - \log 4$, least at p = q.

    Args:
      logits: the logits of D on the grid.
      log_p: the log-density of the data.
      log_q: the log-density of the samples.
      x: an even grid that holds nearly all of both.

    Returns:
      The value, in nats.

    Source: Goodfellow et al. 2014, equation 4 and theorem 1.
    """
    never = jnp.full_like(logits, -jnp.inf)
    on_real = adversarial.minimax.discriminator(logits, never)  # -log D alone
    on_fake = adversarial.minimax.discriminator(-never, logits)  # -log(1 - D) alone
    return -_integral(jnp.exp(log_p(x)) * on_real + jnp.exp(log_q(x)) * on_fake, x)


def jensen_shannon(log_p: LogDensity, log_q: LogDensity, x: Float[Array, " n"]) -> Float[Array, ""]:
    r"""$JSD = \frac 1 2 KL(p \| m) + \frac 1 2 KL(q \| m)$ with $m = \frac 1 2 (p + q)$, in nats.

    Args:
      log_p: the log-density of the one distribution.
      log_q: the log-density of the other distribution.
      x: an even grid that holds nearly all of both.

    Returns:
      A number in [0, log 2].
    """
    p, q = log_p(x), log_q(x)
    m = jnp.logaddexp(p, q) - jnp.log(2.0)
    return _integral((jnp.exp(p) * (p - m) + jnp.exp(q) * (q - m)) / 2, x)


def generator_slope(
    loss: adversarial.AdversarialLoss, theta: Float[Array, ""], *, std: float = 1.0, points: int = 4001
) -> Float[Array, ""]:
    r"""The slope of a generator's loss in its mean $\theta > 0$, of $x = \theta + \sigma z$ against data of $N(0, \sigma^2)$.

    The discriminator is the optimal one, and stands still: $\log p - \log q$, or $f(x) = -x$ for a critic, which is the slope
    of the Wasserstein-1 distance, $|\theta|$. That of minimax is $\partial_\theta\, 2\, JSD$, which vanishes where the two are
    apart; of the other loss $\partial_\theta (KL(q \| p) - 2\, JSD)$.

    Args:
      loss: the adversarial losses of the two players.
      theta: the generator's mean.
      std: the standard deviation $\sigma$ of both distributions.
      points: the number of points of the grid of z.

    Returns:
      $\partial_\theta E_z\, L_G(D^*(\theta + \sigma z))$.

    Source: Arjovsky & Bottou 2017, theorems 2.4 and 2.5; Arjovsky et al. 2017, example 1.
    """
    z = jnp.linspace(-9.0, 9.0, points)
    density = jnp.exp(Normal(jnp.float32(0.0), jnp.float32(1.0)).log_prob(z))
    p, q = Normal(jnp.float32(0.0), jnp.float32(std)), Normal(theta, jnp.float32(std))

    def mean_loss(moved: Float[Array, ""]) -> Float[Array, ""]:
        x = moved + std * z
        logits = -x if loss is adversarial.wasserstein else optimal_logits(p.log_prob, q.log_prob, x)
        return _integral(density * loss.generator(logits), z)

    return jax.grad(mean_loss)(theta)


def _integral(values: Float[Array, " n"], x: Float[Array, " n"]) -> Float[Array, ""]:
    # The spacing from the ends: that of two neighbours is a difference of nearly equal numbers.
    return values.sum() * ((x[-1] - x[0]) / (x.shape[0] - 1))
