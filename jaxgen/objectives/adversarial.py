"""Adversarial training: the two losses of a generator and a discriminator (or critic)."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.adaptive_augmentation import Adaptive
from jaxgen.losses.adversarial import AdversarialLoss, over_maps, per_example
from jaxgen.losses.augmentation import Augmentation
from jaxgen.losses.penalty import Penalty
from jaxgen.objectives.apply import apply, updates_of
from jaxgen.types import Batch, Key, Params, Vars

Telling = Callable[[TrainState, Batch, Key, Key], tuple[Mapping[str, Any], Mapping[str, Any]]]
"""`tell(state, batch, own, whole)`: further arguments, by keyword, of the generator and of the discriminator.

`own` are keys of the examples `[B]`, and `whole` is one key of the turn, the same on all replicas and in all micro-batches.
"""

AUGMENTATION = "augmentation"
"""The name of the state's variable that an adaptive augmentation keeps."""

LatentLaw = Callable[[Key, int], Array]
"""`law(key, n) -> z [n, ...]`, n independent draws. An objective takes one with the key of each example."""


def adversarial(
    generator: nn.Module,
    discriminator: nn.Module,
    loss: AdversarialLoss,
    *,
    latents: int | LatentLaw,
    condition: str | None = None,
    penalty: Penalty | None = None,
    augment: Augmentation | Adaptive | None = None,
    feature: str = "image",
    names: tuple[str, str] = ("generator", "discriminator"),
    tell: Telling | None = None,
    shown: Callable[[TrainState, Array], Array] | None = None,
) -> tuple[LossFn, LossFn]:
    r"""The losses of the game $\min_G \max_D V(D, G)$, to be descended in turn.

    Each turn draws z of its own. Data and samples go through the discriminator as two batches, so that batch normalisation sees
    either the one or the other; each turn keeps the running statistics of its own player. No gradient has to be stopped: a
    turn differentiates its loss in its own player's parameters.

    Args:
      generator: a module `z [B, L] -> x [B, ...]`.
      discriminator: a module `x [B, ...] -> logits [B]`, or maps of logits `[B, h, w, 1]`, over which the losses are averaged.
      loss: the adversarial losses of the two players.
      latents: the dimension L of $z \sim N(0, I)$, or the law of z.
      condition: the feature that both modules take as their second argument, such as "label"; None is unconditional.
      penalty: a penalty that is added to the discriminator's loss; its gradient passes through the augmentation.
      augment: an augmentation of what the discriminator is trained to judge, and the generator by it; an evaluation has none.
        An adaptive one keeps a variable, `state.vars[AUGMENTATION]`, that begins as its `begun()` and that the discriminator's
        player merges by `merging.same`.
      feature: the batch's feature x.
      names: the parameters' names.
      tell: the further arguments of both modules, such as a level of detail that falls in the course of training; None gives
        none.
      shown: the examples as the discriminator is shown them, `shown(state, x)`; None shows them as they are.

    Returns:
      The losses of the discriminator and of the generator. The discriminator's metrics are those of the loss, and `penalty`; of
      an adaptive augmentation also the probability `augment_p` of each change, and `real_sign`, whose mean over the training
      examples the probability follows.

    Source: Goodfellow et al. 2014, algorithm 1; Mirza & Osindero 2014, equation 2 (the condition).
    """
    made, judged = names
    loss = over_maps(loss)
    law = normal_law(latents) if isinstance(latents, int) else latents

    def given(batch: Batch) -> tuple[Array, ...]:
        return () if condition is None else (batch[condition],)

    def told(state: TrainState, batch: Batch, own: Key, turn: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        if tell is None:
            return {}, {}
        whole = jax.random.fold_in(jax.random.fold_in(state.key, state.step), keys.WHOLE)
        return tell(state, batch, own, jax.random.fold_in(whole, turn))

    def samples(params: Params, state: TrainState, batch: Batch, key: Key, train: bool, turn: int) -> tuple[Array, Vars]:
        draw, layers = (keys.fold_in(key, i) for i in range(2))
        z = jax.vmap(lambda own: law(own, 1)[0])(draw)
        more, _ = told(state, batch, layers, turn)
        return apply(generator, params, state.vars, z, *given(batch), key=layers, name=made, train=train, told=more)

    def augmented(state: TrainState, key: Key, x: Any) -> Any:
        if isinstance(augment, Adaptive):
            return augment.pipe(key, x, augment.moved(state.vars[AUGMENTATION], state.step)["p"])
        return x if augment is None else augment(key, x)

    def judge(
        params: Params, state: TrainState, vars: Vars, x: Any, batch: Batch, key: Key, train: bool
    ) -> tuple[Float[Array, "b *map"], Vars]:
        _, more = told(state, batch, key, 0)
        seen = augmented(state, keys.fold_in(key, 0), x) if train else x
        out, vars = apply(discriminator, params, vars, seen, *given(batch), key=key, name=judged, train=train, told=more)
        return out.astype(jnp.float32), vars

    def discriminator_loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        own = keys.per_example(key, batch)
        fake_key, on_real, on_fake, between, on_between = (keys.fold_in(own, i) for i in range(5))
        x = batch[feature] if shown is None else shown(state, batch[feature])
        fake, _ = samples(params, state, batch, fake_key, train, 0)
        real_logits, vars = judge(params, state, state.vars, x, batch, on_real, train)
        fake_logits, vars = judge(params, state, vars, fake, batch, on_fake, train)
        values = loss.discriminator(real_logits, fake_logits)
        metrics: Mapping[str, Array] = loss.metrics(real_logits, fake_logits)
        if penalty is not None:

            def critic(x: Float[Array, "b *event"]) -> Float[Array, " b"]:
                logits = per_example(judge(params, state, state.vars, x, batch, on_between, train)[0])
                # What only fills the batch up may see the examples, by a statistic of the batch, and is to move none of them.
                return logits * batch["mask"].astype(logits.dtype) if tell is not None and "mask" in batch else logits

            extra = penalty(critic, x, fake.astype(x.dtype), between, state.step if train else None)
            values, metrics = values + extra, {**metrics, "penalty": extra}
        kept = updates_of(vars, judged)
        if isinstance(augment, Adaptive):
            now = augment.moved(state.vars[AUGMENTATION], state.step)
            kept = {**kept, AUGMENTATION: augment.noted(now, real_logits, batch.get("mask"))}
            metrics = {**metrics, "real_sign": per_example(jnp.sign(real_logits)), "augment_p": now["p"]}
        return values, Aux(kept, metrics)

    def generator_loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        own = keys.per_example(key, batch)
        fake_key, on_fake = (keys.fold_in(own, i) for i in range(2))
        fake, vars = samples(params, state, batch, fake_key, train, 1)
        logits, _ = judge(params, state, state.vars, fake, batch, on_fake, train)
        return loss.generator(logits), Aux(updates_of(vars, made))

    return discriminator_loss, generator_loss


def normal_law(latents: int) -> LatentLaw:
    """The law N(0, I) of z in as many dimensions."""
    return lambda key, n: jax.random.normal(key, (n, latents))


def uniform_law(latents: int, limit: float = 1.0) -> LatentLaw:
    """The law U(-limit, limit) of z in as many dimensions, which the first adversarial networks were trained with."""
    return lambda key, n: jax.random.uniform(key, (n, latents), minval=-limit, maxval=limit)
