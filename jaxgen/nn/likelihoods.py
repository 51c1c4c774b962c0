"""Likelihoods: layers from a decoder's output to a distribution over images.

Each says how many numbers it wants for an element of the image (`outputs`), and in which range the pixels are (`pixels`).
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.distributions import Bernoulli, DiscretizedLogistic, LogisticMixture, Normal


class BernoulliLikelihood(nn.Module):
    """Binary images; the decoder gives logits."""

    outputs: ClassVar[int] = 1
    pixels: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, raw: Float[Array, "b h w c"]) -> Bernoulli:
        """The distribution."""
        return Bernoulli(raw.astype(jnp.float32))


class GaussianLikelihood(nn.Module):
    """Real images; the decoder gives means, and one standard deviation serves all elements.

    Fields:
      std: the standard deviation; None learns it.
    """

    std: float | None = None
    outputs: ClassVar[int] = 1
    pixels: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @nn.compact
    def __call__(self, raw: Float[Array, "b h w c"]) -> Normal:
        """The distribution."""
        mean = raw.astype(jnp.float32)
        if self.std is not None:
            return Normal(mean, jnp.full_like(mean, self.std))
        log_std = self.param("log_std", nn.initializers.zeros_init(), (), jnp.float32)
        return Normal(mean, jnp.broadcast_to(jnp.exp(log_std), mean.shape))


class HeteroscedasticGaussianLikelihood(nn.Module):
    """Real images; the decoder gives a mean and a log standard deviation for each element.

    Fields:
      least: the log standard deviation is kept above it, since the likelihood of constant pixels is unbounded.
    """

    least: float = -4.0
    outputs: ClassVar[int] = 2
    pixels: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, raw: Float[Array, "b h w c2"]) -> Normal:
        """The distribution."""
        mean, log_std = jnp.split(raw.astype(jnp.float32), 2, axis=-1)
        return Normal(mean, jnp.exp(self.least + nn.softplus(log_std - self.least)))


class DiscretizedLogisticLikelihood(nn.Module):
    """Bytes, scaled to [-1, 1]; the decoder gives a location and a log scale for each element."""

    outputs: ClassVar[int] = 2
    pixels: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __call__(self, raw: Float[Array, "b h w c2"]) -> DiscretizedLogistic:
        """The distribution."""
        loc, log_scale = jnp.split(raw.astype(jnp.float32), 2, axis=-1)
        # Kept above -7, as PixelCNN++ does: a narrower scale than a level's width only amplifies rounding. It starts near
        # exp(-2), a few dozen levels, and not at half of the range.
        return DiscretizedLogistic(loc, jnp.maximum(log_scale - 2.0, -7.0))


class LogisticMixtureLikelihood(nn.Module):
    """Bytes, scaled to [-1, 1]; for each pixel the decoder gives a mixture of logistics whose colours depend on one another.

    The numbers of a pixel are the logits of the components, then their locations by colour, log scales by colour, and the
    coefficients of earlier colours, each of all components.

    Source: Salimans et al. 2017, section 2.1 and 2.2.

    Fields:
      components: the number of components of a mixture.
      levels: the number of levels of a pixel, evenly over [-1, 1]; those of a byte by default.
    """

    components: int = 10
    levels: int = 256
    pixels: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def numbers(self, colours: int) -> int:
        """The numbers that the decoder gives for a pixel: 100 for ten components of three colours."""
        return self.components * (1 + 2 * colours + colours * (colours - 1) // 2)

    def colours(self, numbers: int) -> int:
        """The colours of a pixel, by the numbers that the decoder gave for it."""
        return next(colours for colours in range(1, numbers + 1) if self.numbers(colours) >= numbers)

    def __call__(self, raw: Float[Array, "b h w n"]) -> LogisticMixture:
        """The distribution."""
        raw, colours, k = raw.astype(jnp.float32), self.colours(raw.shape[-1]), self.components
        logits, loc, log_scale, coefficients = jnp.split(raw, [k, k * (1 + colours), k * (1 + 2 * colours)], axis=-1)
        by_colour = (*raw.shape[:-1], -1, k)
        return LogisticMixture(
            logits,
            loc.reshape(by_colour),
            # As PixelCNN++ does: a narrower scale than a level's width only amplifies rounding.
            jnp.maximum(log_scale.reshape(by_colour), -7.0),
            jnp.tanh(coefficients.reshape(by_colour)),
            self.levels,
        )
