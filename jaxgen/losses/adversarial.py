"""The losses of adversarial games, on logits: pairs of pure functions, one for each player."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
from jaxtyping import Array, Float


def logits(real: Float[Array, " b"], fake: Float[Array, " b"]) -> Mapping[str, Float[Array, " b"]]:
    """What a discriminator says, as it is."""
    return {"real_logit": real, "fake_logit": fake}


def probabilities(real: Float[Array, " b"], fake: Float[Array, " b"]) -> Mapping[str, Float[Array, " b"]]:
    """What a discriminator takes for the probability of being real; both are 1/2 where it cannot tell."""
    return {"real_probability": jax.nn.sigmoid(real), "fake_probability": jax.nn.sigmoid(fake)}


def distance(real: Float[Array, " b"], fake: Float[Array, " b"]) -> Mapping[str, Float[Array, " b"]]:
    """A critic's estimate of K times the Wasserstein-1 distance, with K its Lipschitz constant, and its two parts."""
    return {"wasserstein": real - fake, **logits(real, fake)}


class AdversarialLoss(NamedTuple):
    """Two losses to descend, one value an example.

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
