"""The losses of adversarial games, on logits: pairs of pure functions, one for each player."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def logits(real: Float[Array, " b"], fake: Float[Array, " b"]) -> Mapping[str, Float[Array, " b"]]:
    """The discriminator's logits of data and of samples, as metrics."""
    return {"real_logit": real, "fake_logit": fake}


def probabilities(real: Float[Array, " b"], fake: Float[Array, " b"]) -> Mapping[str, Float[Array, " b"]]:
    """The discriminator's probabilities that data and samples are real; both are 1/2 where it cannot distinguish them."""
    return {"real_probability": jax.nn.sigmoid(real), "fake_probability": jax.nn.sigmoid(fake)}


def distance(real: Float[Array, " b"], fake: Float[Array, " b"]) -> Mapping[str, Float[Array, " b"]]:
    """A critic's estimate of K times the Wasserstein-1 distance, with K its Lipschitz constant, and its two parts."""
    return {"wasserstein": real - fake, **logits(real, fake)}


class AdversarialLoss(NamedTuple):
    """Two losses to descend, one value per example.

    Fields:
      discriminator: the discriminator's loss, a function `(real [B], fake [B]) -> [B]` of the logits of data and of samples.
      generator: the generator's loss, a function `fake [B] -> [B]`.
      metrics: a function `(real, fake) -> {name: [B]}` of the metrics to report of the logits.
    """

    discriminator: Callable[[Float[Array, " b"], Float[Array, " b"]], Float[Array, " b"]]
    generator: Callable[[Float[Array, " b"]], Float[Array, " b"]]
    metrics: Callable[[Float[Array, " b"], Float[Array, " b"]], Mapping[str, Float[Array, " b"]]] = logits


def _cross_entropy(real: Float[Array, " b"], fake: Float[Array, " b"]) -> Float[Array, " b"]:
    # -log D(x) - log(1 - D(G(z))), with D the logits' sigmoid: no exponential overflows, no logarithm sees a zero.
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


minimax = AdversarialLoss(_cross_entropy, lambda fake: -jax.nn.softplus(fake), probabilities)
r"""The game of one value, $\min_G \max_D E \log D(x) + E \log(1 - D(G(z)))$.

The generator's gradient vanishes where the discriminator is sure. Source: Goodfellow et al. 2014, equation 1.

>>> zeros = jax.numpy.zeros(1)
>>> round(minimax.discriminator(zeros, zeros).item(), 4)  # 2 log 2
1.3863
"""

non_saturating = AdversarialLoss(_cross_entropy, lambda fake: jax.nn.softplus(-fake), probabilities)
r"""The generator descends $-\log D(G(z))$ instead, with the same fixed point.

Source: Goodfellow et al. 2014, section 3.
"""

wasserstein = AdversarialLoss(lambda real, fake: fake - real, lambda fake: -fake, distance)
r"""The dual of the Wasserstein-1 distance, $\max_{\|f\|_L \le 1} E f(x) - E f(G(z))$; the discriminator is a critic f.

What holds the critic Lipschitz is not here: `clip_weights`, `gradient_penalty` or spectral normalisation.

Source: Arjovsky et al. 2017, equation 2.
"""

hinge = AdversarialLoss(
    lambda real, fake: jax.nn.relu(1.0 - real) + jax.nn.relu(1.0 + fake),
    lambda fake: -fake,
    logits,
)
r"""The discriminator descends $\max(0, 1 - f(x)) + \max(0, 1 + f(G(z)))$, the generator $-f(G(z))$.

Source: Lim & Ye 2017, section 3; Miyato et al. 2018, equations 16 and 17.
"""


def least_squares(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> AdversarialLoss:
    r"""The discriminator descends $(f(x) - b)^2 + (f(G(z)) - a)^2$, the generator $(f(G(z)) - c)^2$.

    The paper has half of both. With $b - c = 1$ and $b - a = 2$ the game is one of Pearson's chi-squared divergence.

    Args:
      a: the discriminator's target for samples.
      b: the discriminator's target for data.
      c: the generator's target for the discriminator's value of samples.

    Returns:
      The two losses.

    Source: Mao et al. 2017, equation 2.

    >>> least_squares().discriminator(jnp.array([1.0, 0.5]), jnp.array([0.0, 2.0])).tolist()
    [0.0, 4.25]
    """
    return AdversarialLoss(
        lambda real, fake: jnp.square(real - b) + jnp.square(fake - a), lambda fake: jnp.square(fake - c), logits
    )


def drifting(loss: AdversarialLoss, weight: float = 1e-3) -> AdversarialLoss:
    r"""The losses with a term $\epsilon f(x)^2$ of the discriminator, which keeps its values from drifting away from zero.

    Args:
      loss: the losses, such as `wasserstein`, to which a constant of the critic is nothing.
      weight: the weight epsilon.

    Returns:
      The losses.

    Source: Karras et al. 2018, appendix A.1.

    >>> drifting(wasserstein, 0.25).discriminator(jnp.array([2.0]), jnp.array([0.0])).item()
    -1.0
    """
    return loss._replace(discriminator=lambda real, fake: loss.discriminator(real, fake) + weight * jnp.square(real))


def over_maps(loss: AdversarialLoss) -> AdversarialLoss:
    """The loss of a discriminator that returns a map of logits for each example: the mean over the map of the losses.

    Args:
      loss: the losses of single logits.

    Returns:
      Losses and metrics of maps `[B, ...]`, one value per example; of logits `[B]` they are those of `loss`.

    >>> over_maps(wasserstein).generator(jnp.arange(4.0).reshape(2, 2, 1, 1)).tolist()
    [-0.5, -2.5]
    """

    def mean(function: Callable[..., Any]) -> Callable[..., Any]:
        def on_maps(*maps: Float[Array, "b *map"]) -> Any:
            values = function(*(logits.reshape(-1) for logits in maps))
            return jax.tree.map(lambda v: per_example(v.reshape(maps[0].shape)), values)

        return on_maps

    return AdversarialLoss(mean(loss.discriminator), mean(loss.generator), mean(loss.metrics))


def per_example(maps: Float[Array, "b *map"]) -> Float[Array, " b"]:
    """The mean of each example's map; of one value per example the value itself.

    >>> per_example(jnp.arange(4.0).reshape(2, 2)).tolist()
    [0.5, 2.5]
    """
    return maps if maps.ndim == 1 else maps.mean(range(1, maps.ndim))
