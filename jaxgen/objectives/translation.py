"""Translation of images to images: the game of a translator and a discriminator that sees what was translated."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.adversarial import AdversarialLoss, over_maps
from jaxgen.objectives.apply import apply, updates_of
from jaxgen.types import Batch, Key, Params, Vars


def conditional_translation(
    generator: nn.Module,
    discriminator: nn.Module,
    loss: AdversarialLoss,
    *,
    l1: float = 100.0,
    gan: float = 1.0,
    features: tuple[str, str] = ("image", "target"),
    noise: bool = True,
    own_statistics: bool = True,
    names: tuple[str, str] = ("generator", "discriminator"),
) -> tuple[LossFn, LossFn]:
    r"""The losses of pix2pix: $\min_G \max_D \lambda_D V(D, G) + \lambda_1 E |y - G(x, z)|_1$ with a D that judges (x, y).

    The discriminator descends half of its loss, which slows it down relative to the generator. Each turn draws noise of its
    own, and pairs of data and translations go through the discriminator as two batches.

    Args:
      generator: a module `(x [B, H, W, C], keys [B] or None) -> y [B, H, W, D]`, where each key draws the noise of an example.
      discriminator: a module of x and y, one after the other in the channels, `[B, H, W, C + D] -> logits [B, h, w, 1]`.
      loss: the adversarial losses of the two players, of which the mean over the map is taken.
      l1: the weight $\lambda_1$ of the mean absolute difference of the pixels.
      gan: the weight $\lambda_D$ of the generator's adversarial loss; with 0 the generator does not see the discriminator.
      features: the batch's features x and y.
      noise: whether there is noise in an evaluation as well.
      own_statistics: whether each image of an evaluation is normalised by its own statistics, as in `translate`.
      names: the names of the parameters.

    Returns:
      The losses of the discriminator and of the generator, in the order of their turns. The generator's metrics are `l1` and,
      with a weight of its own, `adversarial`.

    Source: Isola et al. 2017, equations 1 to 4 and section 3.3.
    """
    made, judged = names
    given, wanted = features
    loss = over_maps(loss)

    def translations(params: Params, vars: Vars, batch: Batch, key: Key, train: bool) -> tuple[Array, Vars]:
        drawn = keys.fold_in(key, 0) if train or noise else None
        x = batch[given]
        return _call(generator, params, vars, x, drawn, name=made, train=train, own_statistics=own_statistics)

    def judge(params: Params, vars: Vars, batch: Batch, y: Array, train: bool) -> tuple[Float[Array, "b *map"], Vars]:
        pair = jnp.concatenate([batch[given], y], axis=-1)
        return _call(discriminator, params, vars, pair, name=judged, train=train, own_statistics=own_statistics)

    def discriminator_loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        own = keys.per_example(key, batch)
        fake, _ = translations(params, state.vars, batch, own, train)
        on_real, vars = judge(params, state.vars, batch, batch[wanted], train)
        on_fake, vars = judge(params, vars, batch, fake, train)
        return loss.discriminator(on_real, on_fake) / 2, Aux(updates_of(vars, judged), loss.metrics(on_real, on_fake))

    def generator_loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        own = keys.per_example(key, batch)
        fake, vars = translations(params, state.vars, batch, own, train)
        difference = jnp.abs(batch[wanted] - fake).mean((1, 2, 3))
        values, metrics = l1 * difference, {"l1": difference}
        if gan:
            on_fake, _ = judge(params, state.vars, batch, fake, train)
            metrics["adversarial"] = loss.generator(on_fake)
            values = values + gan * metrics["adversarial"]
        return values, Aux(updates_of(vars, made), metrics)

    return discriminator_loss, generator_loss


def translate(
    generator: nn.Module,
    params: Params,
    vars: Vars,
    x: Float[Array, "b h w c"],
    key: Key | None = None,
    *,
    own_statistics: bool = True,
    name: str = "generator",
) -> Float[Array, "b h w d"]:
    """Translates images by a trained generator.

    Args:
      generator: the module, as `conditional_translation` takes it.
      params: the parameters by name.
      vars: the variables by name.
      x: the images.
      key: the keys of the noise, one for each image; None is without noise.
      own_statistics: whether each image is normalised by its own mean and variance: batch normalisation of a batch of one, as
        the authors train and test. Otherwise the running averages serve.
      name: the name of the generator's parameters.

    Returns:
      The translated images.

    Source: Isola et al. 2017, section 3.4.
    """
    return _call(generator, params, vars, x, key, name=name, train=False, own_statistics=own_statistics)[0]


def _call(
    module: nn.Module,
    params: Params,
    vars: Vars,
    x: Array,
    key: Key | None = None,
    *,
    name: str,
    train: bool,
    own_statistics: bool,
) -> tuple[Any, Vars]:
    """The module's result, and the variables with its update. In an evaluation each image may be a batch of its own."""
    inputs = (x,) if key is None else (x, key)
    if train or not own_statistics:
        return apply(module, params, vars, *inputs, name=name, train=train)

    def alone(*one: Array) -> Any:
        return apply(module, params, vars, *(a[None] for a in one), name=name, train=True)[0][0]

    return jax.vmap(alone)(*inputs), vars
