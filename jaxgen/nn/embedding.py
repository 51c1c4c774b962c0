"""Embeddings: vectors of a time, a noise level or a class, for a network to be conditioned on."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SizeError


def sinusoidal(
    t: Float[Array, " b"],
    features: int,
    *,
    period: float = 10_000.0,
    endpoint: bool = True,
    cosines_first: bool = False,
) -> Float[Array, "b f"]:
    r"""$[\sin(\omega_i t), \cos(\omega_i t)]$ with frequencies $\omega_i$ that fall geometrically from 1 to 1 / period.

    Args:
      t: positions or times, in steps.
      features: an even number.
      period: the inverse of the least frequency.
      endpoint: whether the least frequency is 1 / period itself, $\omega_i = p^{-i / (h - 1)}$ for i below half the features h;
        otherwise it comes close, $\omega_i = p^{-i / h}$.
      cosines_first: whether the cosines come before the sines.

    Returns:
      All sines, then all cosines, or the other way round.

    Raises:
      SizeError: if the features are not even in number, or fewer than four.

    Source: Vaswani et al. 2017, section 3.5; in this order and with both ends included: Ho et al. 2020; with cosines first and
    without the end: the code of Nichol & Dhariwal 2021.
    """
    half = features // 2
    if features % 2 or half < 2:
        raise SizeError(
            f"Sines and cosines make an even number of features, four or more, and not {features}; "
            "where a network has --channels, their first number decides it."
        )
    frequencies = jnp.exp(-math.log(period) * jnp.arange(half, dtype=jnp.float32) / (half - 1 if endpoint else half))
    angles = t.astype(jnp.float32)[:, None] * frequencies
    waves = (jnp.cos(angles), jnp.sin(angles)) if cosines_first else (jnp.sin(angles), jnp.cos(angles))
    return jnp.concatenate(waves, axis=-1)


class Sinusoidal(nn.Module):
    """Sines and cosines of a time, for networks that are conditioned on steps 1 ... T.

    Fields:
      features: an even number.
      scale: the factor that the time is multiplied by first; 1000 for times in [0, 1].
      period: the inverse of the least frequency.
      endpoint: whether the least frequency is 1 / period itself, as in `sinusoidal`.
      cosines_first: whether the cosines come before the sines.
    """

    features: int
    scale: float = 1.0
    period: float = 10_000.0
    endpoint: bool = True
    cosines_first: bool = False

    def __call__(self, t: Float[Array, " b"]) -> Float[Array, "b f"]:
        """Embeds each number."""
        order: dict[str, Any] = {"endpoint": self.endpoint, "cosines_first": self.cosines_first}
        return sinusoidal(self.scale * t, self.features, period=self.period, **order)


class RandomFourier(nn.Module):
    r"""$[\sin(2 \pi w_i t), \cos(2 \pi w_i t)]$ with frequencies $w_i \sim N(0, s^2)$ that are drawn once and not trained.

    They lie in the collection `constants` and not among the parameters, so that they are saved and no optimizer sees them.
    Source: Tancik et al. 2020; Song et al. 2021, appendix C.1.

    Fields:
      features: an even number.
      scale: the standard deviation s of the frequencies.
    """

    features: int
    scale: float = 16.0

    @nn.compact
    def __call__(self, t: Float[Array, " b"]) -> Float[Array, "b f"]:
        """Embeds each number."""

        def draw() -> Array:
            return self.scale * jax.random.normal(self.make_rng("params"), (self.features // 2,))

        frequencies: Any = self.variable("constants", "frequencies", draw).value
        angles = 2 * jnp.pi * t.astype(jnp.float32)[:, None] * frequencies
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Embed(nn.Module):
    """A vector for each class or token, as `flax.linen.Embed`; nan for a number that is none of them.

    flax would take -1, the label of an example whose label is withheld, for the last class.

    Fields:
      num_embeddings: the number of classes or tokens.
      features: the number of features of a vector.
      embedding_init: the initializer of the vectors; flax's by default.
      dtype: the dtype of what is returned; the parameters are float32.
    """

    num_embeddings: int
    features: int
    embedding_init: Any = nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Any) -> Float[Array, "*b f"]:
        """Looks up the vectors."""
        table = self.param("embedding", self.embedding_init, (self.num_embeddings, self.features), jnp.float32)
        there = (inputs >= 0) & (inputs < self.num_embeddings)
        found = jnp.take(table.astype(self.dtype or jnp.float32), jnp.where(there, inputs, 0), axis=0)
        return jnp.where(there[..., None], found, jnp.nan)
