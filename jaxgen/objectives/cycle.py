"""Translation between two domains without known pairs: two translators that undo each other, and a discriminator of each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.adversarial import AdversarialLoss, over_maps
from jaxgen.objectives.apply import apply
from jaxgen.types import Batch, Key, Params

Exchange = Callable[..., tuple[Array, Mapping[str, Any]]]
"""`exchange(pool, images [B, ...], keys [B], *, train, mask) -> (images to show [B, ...], pool)`."""

Terms = Callable[[TrainState, Batch, Key], Mapping[str, Array]]
"""`terms(state, batch, key) -> {name: [B]}` of the images of one domain."""

Further = Callable[[Params, TrainState, Batch, Mapping[str, Array]], Mapping[str, Array]]
"""`further(params, state, batch, made) -> {name: [B]}`: terms of the translations of each domain's images, `made[domain]`."""

DOMAINS = ("a", "b")
"""The streams of a batch, and the pools of translations into each domain."""

TRANSLATORS = ("a_to_b", "b_to_a")
"""The networks that translate the images of each domain, by the names of their parameters."""

DISCRIMINATORS = ("discriminator_a", "discriminator_b")
"""The networks that judge each domain, by the names of their parameters."""

POOLS = "pools"
"""The variable that holds a pool of translations into each domain, `{"a": ..., "b": ...}`."""


class CycleLosses(NamedTuple):
    """The losses of the game of two pairs, of batches `{"a": {"image": x}, "b": {"image": y}}`.

    Fields:
      translators: the loss of both translators, whose metrics are the terms of both domains, such as `cycle_a`.
      discriminators: the loss of both discriminators, which also returns the pools. Its metrics are the logits.
      terms: the measure of each domain's images, by the domain: `cycle`, `identity`, `adversarial`, and the logits of the
        image and of its translation; the last three only where there are discriminators.
    """

    translators: LossFn
    discriminators: LossFn
    terms: Mapping[str, Terms]


def cycle_translation(
    translators: tuple[nn.Module, nn.Module],
    discriminators: tuple[nn.Module, nn.Module],
    loss: AdversarialLoss,
    *,
    cycle: tuple[float, float] = (10.0, 10.0),
    identity: float = 0.5,
    gan: float | tuple[float, float] = 1.0,
    exchange: Exchange | None = None,
    further: Further | None = None,
    feature: str = "image",
) -> CycleLosses:
    r"""The losses of CycleGAN: adversarial ones, what is lost on the way there and back, and what is changed without need.

    The translators G of a to b and F of b to a descend
    $\lambda_D V(D_Y, G) + \lambda_X E |F(G(x)) - x|_1 + \lambda_X \iota E |F(x) - x|_1$ for x of domain a, and the same with
    the domains exchanged. Each discriminator descends half of its loss, on images of its domain and on translations into it.
    The value of an example is the sum over the two domains, whose i-th images have nothing to do with one another.

    Args:
      translators: the modules G and F, `[B, H, W, C] -> [B, H, W, C]`, which draw nothing and have no variables.
      discriminators: the modules of domain a and of domain b, `[B, H, W, C] -> logits [B, h, w, 1]`, in the same way.
      loss: the adversarial losses of the two players, of which the mean over the map is taken.
      cycle: the weights $\lambda_X$ and $\lambda_Y$ of the cycles that begin in domain a and in domain b.
      identity: the weight $\iota$ of what a translator changes in images that are of its target already.
      gan: the weight $\lambda_D$ of the translators' adversarial losses; with 0 they do not see the discriminators. Of two the
        first is that of translations of domain a, and the second that of domain b.
      exchange: a function that puts translations into a pool and gives those that are shown to the discriminator, such as
        `jaxgen.models.translation.exchange`. The pools are the state's variable `POOLS`. None shows the newest.
      further: more terms of the translations, which are added to the translators' loss; None adds none.
      feature: the feature of each stream of a batch that is translated.

    Returns:
      The losses, of parameters by the names `TRANSLATORS` and `DISCRIMINATORS`.

    Source: Zhu et al. 2017, equations 1 to 3, section 5.2 (the identity) and section 4 (half of the discriminators' losses).
    """
    loss = over_maps(loss)
    gans = gan if isinstance(gan, tuple) else (gan, gan)

    def translate(way: int, params: Params, x: Array) -> Float[Array, "b h w c"]:
        return apply(translators[way], params, {}, x, name=TRANSLATORS[way])[0]

    def judge(domain: int, params: Params, x: Array) -> Float[Array, "b *map"]:
        return apply(discriminators[domain], params, {}, x, name=DISCRIMINATORS[domain])[0]

    def terms_of(domain: int, params: Params, x: Array) -> tuple[dict[str, Array], Array]:
        """The terms of one domain's images, and their translations."""
        there, back = domain, 1 - domain
        made = translate(there, params, x)
        found = {"cycle": _difference(translate(back, params, made), x)}
        if identity:
            found["identity"] = _difference(translate(back, params, x), x)
        if any(gans):
            found["adversarial"] = loss.generator(judge(1 - domain, params, made))
        return found, made

    weights = [
        {"cycle": own, "identity": own * identity, "adversarial": judged} for own, judged in zip(cycle, gans, strict=True)
    ]

    def of_translators(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        values: Array | float = 0.0
        metrics: dict[str, Array] = {}
        made: dict[str, Array] = {}
        for i, domain in enumerate(DOMAINS):
            terms, made[domain] = terms_of(i, params, batch[domain][feature])
            values = values + sum(weights[i][name] * term for name, term in terms.items())
            metrics |= {f"{name}_{domain}": term for name, term in terms.items()}
        if further is not None:
            more = further(params, state, batch, made)
            values, metrics = values + sum(more.values()), {**metrics, **more}
        return jnp.asarray(values), Aux(metrics=metrics)

    def of_discriminators(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        values: Array | float = 0.0
        metrics: dict[str, Array] = {}
        pools: dict[str, Any] = {}
        for i, domain in enumerate(DOMAINS):
            from_there = batch[DOMAINS[1 - i]]
            fake = translate(1 - i, params, from_there[feature])
            if exchange is not None:
                own = keys.per_example(key, from_there)
                fake, pools[domain] = exchange(state.vars[POOLS][domain], fake, own, train=train, mask=from_there.get("mask"))
            on_real, on_fake = judge(i, params, batch[domain][feature]), judge(i, params, fake)
            values = values + loss.discriminator(on_real, on_fake) / 2
            metrics |= {f"{name}_{domain}": value for name, value in loss.metrics(on_real, on_fake).items()}
        return jnp.asarray(values), Aux({POOLS: pools} if pools else {}, metrics)

    def measured(domain: int) -> Terms:
        def terms(state: TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
            found, made = terms_of(domain, state.params, batch[feature])
            if not any(gans):
                return found
            on_real, on_fake = judge(domain, state.params, batch[feature]), judge(1 - domain, state.params, made)
            return {**found, **loss.metrics(on_real, on_fake)}

        return terms

    return CycleLosses(of_translators, of_discriminators, {domain: measured(i) for i, domain in enumerate(DOMAINS)})


def _difference(x: Array, y: Array) -> Float[Array, " b"]:
    """The mean absolute difference of the pixels of each image."""
    return jnp.abs(x - y).mean(tuple(range(1, x.ndim)))
