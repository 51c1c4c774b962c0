r"""Hierarchical variational autoencoders: one generative chain of latents, and two ways to infer them.

The chain is $p(z_L) \prod_{i<L} p(z_i | z_{i+1})\, p(x | z_1)$ with $p(z_L) = N(0, I)$. The parts of a model are modules, so
that a linear model with a known posterior is built of the same classes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.distributions import Normal, sum_event
from jaxgen.nn.norm import BatchNorm
from jaxgen.types import Key

STANDARD = Normal(0.0, 1.0)
ZEROS = nn.initializers.zeros_init()
LEAST_VARIANCE = 1e-5
"""The number that is added to a variance, as in the authors' code."""


class Group(NamedTuple):
    """One layer of latents at its sample.

    Fields:
      z: the sample.
      log_q: the log-density of the sample under the posterior, given the sample that it was inferred from.
      log_p: the log-density of the sample under the prior, given the sample of the layer above.
      kl: a value of each unit whose mean over the samples is its KL. In closed form given the layer above, where that layer was
        sampled first. In a chain from below it was sampled from this one, so that the closed form would be another number, and
        the value is log q - log p at the sample.
    """

    z: Float[Array, "b *units"]
    log_q: Float[Array, " b"]
    log_p: Float[Array, " b"]
    kl: Float[Array, "b *units"]


class Inferred(NamedTuple):
    """The likelihood and the layers of latents at one sample.

    Fields:
      likelihood: the distribution p(x | z_1) at the sample of z_1.
      groups: the layers, z_1 first.
    """

    likelihood: Any
    groups: tuple[Group, ...]


def leaky_relu(x: Array) -> Array:
    """A rectifier with the slope 0.01 below zero."""
    return nn.leaky_relu(x, 0.01)


def merged(first: Normal, second: Normal) -> Normal:
    r"""The product of two normal densities, normalised: precisions add up, and weigh the means.

    $\sigma^2 = 1 / (\sigma_1^{-2} + \sigma_2^{-2})$, $\mu = \sigma^2 (\mu_1 \sigma_1^{-2} + \mu_2 \sigma_2^{-2})$.

    Args:
      first: a normal law `[...]`.
      second: another one `[...]`.

    Returns:
      The normal law `[...]`.

    Source: Sønderby et al. 2016, section 2.2.

    >>> merged(Normal(jnp.array(0.0), jnp.array(1.0)), Normal(jnp.array(2.0), jnp.array(1.0))).mean.item()
    1.0
    """
    one, two = first.std**-2, second.std**-2
    variance = 1.0 / (one + two)
    return Normal(variance * (first.mean * one + second.mean * two), jnp.sqrt(variance))


class MLP(nn.Module):
    """Dense layers of one width, each with batch normalisation, if any, and a rectifier.

    Fields:
      width: the units of each layer.
      layers: the number of layers.
      batch_norm: whether batch normalisation follows each dense layer, which then has no bias.
      activation: the activation function.
    """

    width: int
    layers: int = 2
    batch_norm: bool = True
    activation: Callable[[Array], Array] = leaky_relu

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape"], *, train: bool = False) -> Float[Array, "b width"]:
        """Flattens the input, and gives the last layer."""
        h = x.reshape(x.shape[0], -1)
        for _ in range(self.layers):
            h = self.activation(_dense(h, self.width, self.batch_norm, train))
        return h


class GaussianMLP(nn.Module):
    r"""A network that gives a normal law: $\mu$ linear, $\sigma^2 = \mathrm{softplus}(\cdot) + 10^{-5}$.

    Fields:
      units: the units of the law.
      mlp: the network before both.
      batch_norm: whether batch normalisation follows both linear layers, as in the authors' code. Without it the bias of the
        variance starts at 1; with it their code has that bias too, but the normalisation takes it out.
    """

    units: int
    mlp: nn.Module
    batch_norm: bool = True

    def hidden(self, x: Float[Array, "b *shape"], *, train: bool = False) -> Float[Array, "b width"]:
        """The last hidden layer."""
        return self.mlp(x, train=train)

    @nn.compact
    def head(self, h: Float[Array, "b width"], *, train: bool = False) -> Normal:
        """The law, of the last hidden layer."""
        mean = _dense(h, self.units, self.batch_norm, train)
        raw = _dense(h, self.units, self.batch_norm, train, nn.initializers.ones_init())
        return Normal(mean, jnp.sqrt(nn.softplus(raw) + LEAST_VARIANCE))

    def __call__(self, x: Float[Array, "b *shape"], *, train: bool = False) -> Normal:
        """The law."""
        return self.head(self.hidden(x, train=train), train=train)


class PixelMLP(nn.Module):
    """A network that gives one number for each element of an image, without batch normalisation at the end.

    Fields:
      mlp: the network before the last layer.
      shape: the shape (H, W, C) of the image.
    """

    mlp: nn.Module
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: Float[Array, "b units"], *, train: bool = False) -> Float[Array, "b h w c"]:
        """Decodes a layer of latents."""
        size = math.prod(self.shape)
        return _dense(self.mlp(z, train=train), size, False, train).reshape(-1, *self.shape)


class MarkovVAE(nn.Module):
    r"""The hierarchical VAE whose posterior is a chain from below, $q(z_1 | x) \prod_{i>1} q(z_i | z_{i-1})$.

    Fields:
      up: the laws of the posterior, from x, z_1, ..., z_{L-1} to `Normal` laws of z_1, ..., z_L.
      down: the laws of the prior, from z_2, ..., z_L to laws of z_1, ..., z_{L-1}.
      decoder: z_1 to the numbers that the likelihood wants.
      likelihood: these to a distribution of images.

    Source: Rezende et al. 2014; Sønderby et al. 2016, section 2.1.
    """

    up: Sequence[nn.Module]
    down: Sequence[nn.Module]
    decoder: nn.Module
    likelihood: nn.Module

    def infer(self, x: Float[Array, "b *event"], *, key: Key | None = None, train: bool = False) -> Inferred:
        """A sample of all layers, their densities, and the likelihood.

        Args:
          x: the images.
          key: the key of the samples: one, or a key for each example, `[B]`; None is the module's key "sample".
          train: whether batch statistics are those of the batch.

        Returns:
          The likelihood and the groups.
        """
        key = self.make_rng("sample") if key is None else key
        laws, samples, below = [], [], x
        for i, up in enumerate(self.up):
            laws.append(up(below, train=train))
            below = laws[i].sample(keys.fold_in(key, i))
            samples.append(below)
        priors = [self.down[i](samples[i + 1], train=train) for i in range(len(self.down))]
        groups = [_group(z, q, p, closed=False) for z, q, p in zip(samples, laws, priors, strict=False)]
        groups.append(_group(samples[-1], laws[-1], STANDARD))
        return Inferred(self.decode(samples[0], train=train), tuple(groups))

    def decode(self, z: Float[Array, "b units"], *, train: bool = False) -> Any:
        """The likelihood p(x | z_1)."""
        return self.likelihood(self.decoder(z, train=train))

    def decode_from(
        self, z: Float[Array, "b units"], *, layer: int, key: Key | None = None, train: bool = False
    ) -> tuple[Any, tuple[Array, ...]]:
        """Samples the layers below one, and gives the likelihood.

        Args:
          z: the values of a layer.
          layer: the number of that layer, 0 for z_1.
          key: the key of the samples: one, or a key for each example; None is the module's key "sample".
          train: whether batch statistics are those of the batch.

        Returns:
          The likelihood, and the values of the layers up to the one that was given, z_1 first.
        """
        key = self.make_rng("sample") if key is None else key
        values = [z]
        for i in range(layer - 1, -1, -1):
            values.append(self.down[i](values[-1], train=train).sample(keys.fold_in(key, i)))
        return self.decode(values[-1], train=train), tuple(values[::-1])

    def __call__(self, x: Float[Array, "b *event"], *, train: bool = False) -> Any:
        """The likelihood at a sample with a fixed key; what `init` traces."""
        return self.infer(x, key=jax.random.key(0), train=train).likelihood


class LadderVAE(MarkovVAE):
    r"""The ladder VAE, whose posterior goes down as the prior does: $q(z_L | x) \prod_{i<L} q(z_i | z_{i+1}, x)$.

    A deterministic pass upwards gives the law $N(\hat\mu_i, \hat\sigma_i^2)$ of each layer. On the way down the law of
    layer i is that one, merged with $p(z_i | z_{i+1})$ or with a law of the same form that only the posterior has.

    Fields:
      merging: the laws that are merged on the way down, as `down`; empty takes the prior's own, as the paper writes it. The
        authors' code has networks of its own.
      by_mean: whether the pass upwards goes on from a layer's mean, as in the authors' code by default; otherwise from its last
        hidden layer, as in the paper.

    Source: Sønderby et al. 2016, section 2.2; github.com/casperkaae/LVAE.
    """

    merging: Sequence[nn.Module] = ()
    by_mean: bool = True

    def infer(self, x: Float[Array, "b *event"], *, key: Key | None = None, train: bool = False) -> Inferred:
        """A sample of all layers, their densities, and the likelihood; as `MarkovVAE.infer`."""
        key = self.make_rng("sample") if key is None else key
        seen: list[Normal] = []
        below: Any = x
        for up in self.up:
            if self.by_mean:
                seen.append(up(below, train=train))
                below = seen[-1].mean
            else:
                below = up.hidden(below, train=train)
                seen.append(up.head(below, train=train))
        top = len(self.up) - 1
        z = seen[top].sample(keys.fold_in(key, top))
        groups = [_group(z, seen[top], STANDARD)]
        for i in range(top - 1, -1, -1):
            prior = self.down[i](z, train=train)
            above = self.merging[i](z, train=train) if self.merging else prior
            law = merged(above, seen[i])
            z = law.sample(keys.fold_in(key, i))
            groups.append(_group(z, law, prior))
        return Inferred(self.decode(z, train=train), tuple(groups[::-1]))


def _group(z: Array, q: Normal, p: Normal, *, closed: bool = True) -> Group:
    log_q, log_p = q.log_prob(z), p.log_prob(z)
    return Group(z, sum_event(log_q), sum_event(log_p), q.kl(p) if closed else log_q - log_p)


def _dense(
    x: Array,
    units: int,
    batch_norm: bool,
    train: bool,
    bias_init: nn.initializers.Initializer = ZEROS,
) -> Array:
    h = nn.Dense(units, use_bias=not batch_norm, kernel_init=nn.initializers.glorot_normal(), bias_init=bias_init)(x)
    return BatchNorm()(h, train=train) if batch_norm else h
