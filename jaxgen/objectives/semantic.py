"""Synthesis of images from maps of classes: the game of SPADE."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.distributions import Normal, sum_event
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.adversarial import AdversarialLoss, over_maps
from jaxgen.losses.perceptual import feature_distance
from jaxgen.objectives.apply import apply, updates_of
from jaxgen.types import Batch, Key, Params, Vars


class Perceptual(NamedTuple):
    """A network that images are compared by, whose parameters no player moves.

    Fields:
      module: a module `images [B, H, W, C] -> maps`.
      weights: a weight for each map.
      weight: the weight of the whole, 10 in the paper.
      name: the name of the module's parameters.
    """

    module: nn.Module
    weights: Sequence[float]
    weight: float = 10.0
    name: str = "vgg"


def semantic_synthesis(
    generator: nn.Module,
    discriminator: nn.Module,
    loss: AdversarialLoss,
    *,
    encoder: nn.Module | None = None,
    matching: float = 10.0,
    kl: float = 0.05,
    perceptual: Perceptual | None = None,
    features: tuple[str, str] = ("segmentation", "image"),
    names: tuple[str, str, str] = ("generator", "discriminator", "encoder"),
) -> tuple[LossFn, LossFn]:
    r"""The losses of SPADE: $\min_G \max_D V(D, G) + \lambda_F E \sum_i \overline{|D_i(m, x) - D_i(m, G(m))|}$.

    D judges a map m with an image at several sizes; each loss is the mean over the sizes, of the mean over a size's patches.
    $D_i$ are the maps of its layers but the last. Real images and made ones go through it as one batch. With an encoder, the
    generator is given the style z ~ q(z | x) of the image that it should make, and the game has the term
    $\lambda_{KL} KL(q(z | x) \| N(0, I))$.

    The generator moves first. The discriminator's turn makes images anew, and follows its spectral norms; neither turn changes
    the variables of the other player.

    Args:
      generator: a module `(m [B, H, W, S]) -> [B, H, W, C]`, or `(m, z [B, L])` with an encoder.
      discriminator: a module of m and x, one after the other in the channels, whose method `maps` gives by size the maps of the
        layers and the logits.
      loss: the adversarial losses of the two players, of which the mean over the map is taken.
      encoder: a module `x -> Normal [B, L]`; None is without styles.
      matching: the weight $\lambda_F$ of the difference of the discriminator's maps.
      kl: the weight $\lambda_{KL}$ of an image's divergence, the sum over its latents.
      perceptual: a network by which images are compared too; None is without.
      features: the batch's features m and x.
      names: the names of the parameters of the three networks; the generator's player owns the encoder.

    Returns:
      The losses of the generator and of the discriminator, in the order of their turns. The generator's metrics are its terms
      without their weights: `adversarial`, `matching`, and where there are such `perceptual` and `kl`.

    Source: Park et al. 2019, section 3 (the terms are those of Wang et al. 2018, with the hinge loss for least squares). The
    weights are the authors' code's.
    """
    made, judged, read = names
    given, wanted = features
    loss = over_maps(loss)

    def synthesise(params: Params, vars: Vars, batch: Batch, own: Key, train: bool) -> tuple[Array, Normal | None, Vars]:
        """The images of a batch's maps, the distributions of the styles that they were given, and the variables."""
        if encoder is None:
            image, vars = apply(generator, params, vars, batch[given], name=made, train=train)
            return image, None, vars
        style, vars = apply(encoder, params, vars, batch[wanted], name=read, train=train)
        image, vars = apply(generator, params, vars, batch[given], style.sample(own), name=made, train=train)
        return image, style, vars

    def judge(params: Params, vars: Vars, batch: Batch, fake: Array, train: bool) -> tuple[list[Any], list[Any], Vars]:
        """The maps of made and of real images, by size, and the variables."""
        pairs = [jnp.concatenate([batch[given], image.astype(fake.dtype)], axis=-1) for image in (fake, batch[wanted])]
        both, vars = apply(discriminator, params, vars, jnp.concatenate(pairs), name=judged, method="maps", train=train)
        parts = (slice(None, len(fake)), slice(len(fake), None))
        on_fake, on_real = ([[layer[part] for layer in size] for size in both] for part in parts)
        return on_fake, on_real, vars

    def generator_loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        own = keys.per_example(key, batch)
        fake, style, vars = synthesise(params, state.vars, batch, own, train)
        on_fake, on_real, _ = judge(params, state.vars, batch, fake, train)
        metrics = {
            "adversarial": _mean([loss.generator(size[-1]) for size in on_fake]),
            "matching": _mean([feature_distance(a[:-1], b[:-1]) for a, b in zip(on_fake, on_real, strict=True)]),
        }
        values = metrics["adversarial"] + matching * metrics["matching"]
        if perceptual is not None:
            compared = perceptual.module, params, state.vars
            found, real = (apply(*compared, image, name=perceptual.name)[0] for image in (fake, batch[wanted]))
            metrics["perceptual"] = feature_distance(found, real, perceptual.weights)
            values = values + perceptual.weight * metrics["perceptual"]
        if style is not None:
            metrics["kl"] = sum_event(style.kl(Normal()))
            values = values + kl * metrics["kl"]
        return values, Aux({**updates_of(vars, made), **updates_of(vars, read)}, metrics)

    def discriminator_loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        own = keys.per_example(key, batch)
        fake, _, _ = synthesise(params, state.vars, batch, own, train)
        on_fake, on_real, vars = judge(params, state.vars, batch, fake, train)
        logits = [(real[-1], fake[-1]) for real, fake in zip(on_real, on_fake, strict=True)]
        metrics = jax.tree.map(lambda *sizes: _mean(sizes), *(dict(loss.metrics(*two)) for two in logits))
        return _mean([loss.discriminator(*two) for two in logits]), Aux(updates_of(vars, judged), metrics)

    return generator_loss, discriminator_loss


def _mean(values: Sequence[Array]) -> Float[Array, " b"]:
    return sum(values[1:], start=values[0]) / len(values)
