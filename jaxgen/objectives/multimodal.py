"""Translation between two domains without pairs, in many ways: images are contents, which both share, and styles of each."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.adversarial import AdversarialLoss, over_maps
from jaxgen.nn import channel_moments
from jaxgen.objectives.apply import apply
from jaxgen.objectives.cycle import DISCRIMINATORS, DOMAINS, Terms
from jaxgen.types import Batch, Key, Params

AUTOENCODERS = ("autoencoder_a", "autoencoder_b")
"""The networks that take the images of each domain apart and put them together, by the names of their parameters."""

MAPS = "vgg"
"""The name of the parameters of the network by which images and their translations are compared; no player moves them."""


class Translate(Protocol):
    """`translate(params, x [B, H, W, C], style [B, L], domain) -> images`: those of the number `domain` in the other domain."""

    def __call__(self, params: Params, x: Array, style: Array, domain: int) -> Array: ...


class MultimodalLosses(NamedTuple):
    """The losses of the game of two pairs, of batches `{"a": {"image": x}, "b": {"image": y}}`, and its translation.

    Fields:
      discriminators: the loss of both discriminators, whose metrics are the logits.
      autoencoders: the loss of both autoencoders, whose metrics are the terms of both domains' images, such as `content_a`.
      terms: the measure of each domain's images, by the domain: `reconstruction`, `style`, `content`, `adversarial`, and
        `cycle` and `perceptual` where they have a weight; and the logits of the image and of its translation.
      translate: the translation.
    """

    discriminators: LossFn
    autoencoders: LossFn
    terms: Mapping[str, Terms]
    translate: Translate


def multimodal_translation(
    autoencoders: tuple[nn.Module, nn.Module],
    discriminators: tuple[nn.Module, nn.Module],
    loss: AdversarialLoss,
    *,
    latents: int,
    gan: float = 1.0,
    reconstruction: float = 10.0,
    style: float = 1.0,
    content: float = 1.0,
    cycle: float = 0.0,
    perceptual: float = 0.0,
    maps: nn.Module | None = None,
    feature: str = "image",
) -> MultimodalLosses:
    r"""The losses of MUNIT: adversarial ones, and what is lost of images, contents and styles on their ways.

    An image x of one domain has the content c and the style s. With a style $s' \sim N(0, I)$ of the other domain it becomes
    $x' = G'(c, s')$, whose content and style are read again. The autoencoders descend
    $\lambda_D V(D', x') + \lambda_x \overline{|G(c, s) - x|} + \lambda_s \overline{|s(x') - s'|}
    + \lambda_c \overline{|c(x') - c|} + \lambda_y \overline{|G(c(x'), s) - x|}$, and the same with the domains exchanged. The
    contents are no constants of their term: both sides get its gradient. The discriminators descend $\lambda_D$ times their
    loss, summed over the sizes of which they judge the images; their turn draws styles of its own.

    The value of an example is the sum over the two domains, whose i-th images have nothing to do with one another. The style
    that an image gets in the other domain belongs to that image: it is drawn with its key.

    Args:
      autoencoders: the modules of domain a and of domain b, with methods `encode(x) -> (content, style [B, L])` and
        `decode(content, style) -> x`, which draw nothing and have no variables.
      discriminators: the modules of each domain, `[B, H, W, C] -> logits`, a map for each size.
      loss: the adversarial losses of the two players, of which the mean over each map is taken, and the sum of the sizes.
      latents: the dimension L of a style.
      gan: the weight $\lambda_D$ of the adversarial losses of both players.
      reconstruction: the weight $\lambda_x$ of what is lost of an image within its domain.
      style: the weight $\lambda_s$ of what is lost of a style that was drawn.
      content: the weight $\lambda_c$ of what is lost of a content on the way there.
      cycle: the weight $\lambda_y$ of what is lost of an image on the way there and back, with its own style.
      perceptual: the weight of the mean squared difference of the maps of an image and of its translation, after instance
        normalisation: what is left of them is thought to be the same in both domains.
      maps: a module of images in [-1, 1] whose maps these are, such as relu5_3 of VGG-16; needed for a perceptual weight. Its
        parameters are those by the name `MAPS`.
      feature: the feature of each stream of a batch that is translated.

    Returns:
      The losses in the order of their turns, of parameters by the names `DISCRIMINATORS` and `AUTOENCODERS`.

    Source: Huang et al. 2018, equations 1 to 5, section 5.1 (the perceptual loss) and its style-augmented cycle. That the
    contents are no constants, the sum over the sizes and the weights are the authors' code's (github.com/NVlabs/MUNIT).
    """
    loss = over_maps(loss)
    assert not perceptual or maps is not None, "a perceptual weight needs a network's maps"

    def encode(domain: int, params: Params, x: Array) -> tuple[Array, Array]:
        return apply(autoencoders[domain], params, {}, x, name=AUTOENCODERS[domain], method="encode")[0]

    def decode(domain: int, params: Params, c: Array, s: Array) -> Array:
        return apply(autoencoders[domain], params, {}, c, s, name=AUTOENCODERS[domain], method="decode")[0]

    def judge(domain: int, params: Params, x: Array) -> tuple[Array, ...]:
        return apply(discriminators[domain], params, {}, x, name=DISCRIMINATORS[domain])[0]

    def drawn(batch: Batch, key: Key) -> Float[Array, "b l"]:
        """A style for each image of one stream."""
        return keys.draw(jax.random.normal, keys.per_example(key, batch), (len(batch[feature]), latents))

    def translate(params: Params, x: Array, style: Array, domain: int) -> Array:
        return decode(1 - domain, params, encode(domain, params, x)[0], style)

    weights = {"adversarial": gan, "reconstruction": reconstruction, "style": style, "content": content}
    weights |= {"cycle": cycle, "perceptual": perceptual}

    def terms_of(domain: int, params: Params, batch: Batch, key: Key) -> tuple[dict[str, Array], Array]:
        """The terms of one domain's images, and their translations."""
        x, there = batch[feature], 1 - domain
        c, s = encode(domain, params, x)
        other = drawn(batch, key)
        made = decode(there, params, c, other)
        c_again, other_again = encode(there, params, made)
        found = {
            "reconstruction": _difference(decode(domain, params, c, s), x),
            "style": _difference(other_again, other),
            "content": _difference(c_again, c),
            "adversarial": _sum([loss.generator(logits) for logits in judge(there, params, made)]),
        }
        if cycle:
            found["cycle"] = _difference(decode(domain, params, c_again, s), x)
        if perceptual and maps is not None:
            seen, given = (apply(maps, params, {}, images, name=MAPS)[0] for images in (made, x))
            found["perceptual"] = _invariant_difference(seen, given)
        return found, made

    def of_autoencoders(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        values: Array | float = 0.0
        metrics: dict[str, Array] = {}
        for i, domain in enumerate(DOMAINS):
            terms, _ = terms_of(i, params, batch[domain], key)
            values = values + sum(weights[name] * term for name, term in terms.items())
            metrics |= {f"{name}_{domain}": term for name, term in terms.items()}
        return jnp.asarray(values), Aux(metrics=metrics)

    def of_discriminators(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        values: Array | float = 0.0
        metrics: dict[str, Array] = {}
        for i, domain in enumerate(DOMAINS):
            from_there = batch[DOMAINS[1 - i]]
            fake = translate(params, from_there[feature], drawn(from_there, key), 1 - i)
            # In one batch, which the discriminator judges image by image.
            both = judge(i, params, jnp.concatenate([batch[domain][feature], fake]))
            sizes = [(logits[: -len(fake)], logits[-len(fake) :]) for logits in both]
            values = values + gan * _sum([loss.discriminator(*two) for two in sizes])
            metrics |= {f"{name}_{domain}": value for name, value in reported(sizes).items()}
        return jnp.asarray(values), Aux(metrics=metrics)

    def reported(sizes: list[tuple[Array, Array]]) -> dict[str, Array]:
        """The mean over the sizes of what is reported of logits of real and of made images."""
        return jax.tree.map(lambda *each: _sum(list(each)) / len(each), *(dict(loss.metrics(*two)) for two in sizes))

    def measured(domain: int) -> Terms:
        def terms(state: TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
            found, made = terms_of(domain, state.params, batch, key)
            real, fake = judge(domain, state.params, batch[feature]), judge(1 - domain, state.params, made)
            return {**found, **reported(list(zip(real, fake, strict=True)))}

        return terms

    by_domain = {domain: measured(i) for i, domain in enumerate(DOMAINS)}
    return MultimodalLosses(of_discriminators, of_autoencoders, by_domain, translate)


def _sum(values: list[Array]) -> Float[Array, " b"]:
    return sum(values[1:], start=values[0])


def _difference(x: Array, y: Array) -> Float[Array, " b"]:
    """The mean absolute difference of the numbers of each example."""
    return jnp.abs(x.astype(jnp.float32) - y.astype(jnp.float32)).mean(tuple(range(1, x.ndim)))


def _invariant_difference(x: Array, y: Array) -> Float[Array, " b"]:
    """The mean squared difference of maps whose channels have the mean 0 and the deviation 1 in each image."""
    (mean_x, std_x), (mean_y, std_y) = channel_moments(x), channel_moments(y)
    return jnp.square((x - mean_x) / std_x - (y - mean_y) / std_y).mean((1, 2, 3))
