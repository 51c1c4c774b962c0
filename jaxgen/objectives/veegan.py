"""VEEGAN: a reconstructor maps samples back to their noise, and a discriminator judges pairs of noise and example."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen import keys
from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.losses.adversarial import minimax
from jaxgen.objectives.apply import apply
from jaxgen.types import Batch, Key, Params

NAMES = ("generator", "reconstructor", "discriminator")
"""The three networks by the names of their parameters."""


def veegan(
    generator: nn.Module,
    reconstructor: nn.Module,
    discriminator: nn.Module,
    *,
    latents: int,
    noise: int = 1,
    feature: str = "image",
) -> tuple[LossFn, LossFn]:
    r"""The losses of VEEGAN: of the discriminator D, and of the generator G and the reconstructor F together.

    D descends $\mathrm{softplus}(-D(z, G(z))) + \mathrm{softplus}(D(\tilde z, x))$ with $z \sim N(0, I)$ and
    $\tilde z \sim N(F(x), I)$: a pair that was generated counts as true. So D estimates the logarithm of the ratio of generated
    pairs to reconstructed ones, which G descends as it is, $D(z, G(z)) - \log N(z; F(G(z)), I)$. What is reconstructed is the
    noise and not the data: a mode that G leaves out has no noise that F could send it to.

    Both losses draw the same z and the same noise of F from the same key, so that `simultaneous` players move on the same draws
    as those of the authors' code.

    Args:
      generator: the module G, `z [B, L] -> x [B, ...]`.
      reconstructor: the module F, `[B, D + E] -> means of z [B, L]`, of x of D numbers and noise of E.
      discriminator: the module D, `[B, L + D] -> logits [B]`, of z and then x.
      latents: the dimension L of z.
      noise: the dimension E of the noise that F is given.
      feature: the batch's feature x.

    Returns:
      The losses of the discriminator and of the two others, of parameters by the names `NAMES`. The metrics are the
      probabilities that D gives generated and reconstructed pairs of being generated; and `reconstruction`, the term of G and F
      in nats.

    Source: Srivastava et al. 2017, section 3 and algorithm 1; the noise of F and the logit as it is are of the authors' code.
    """
    made, inverted, judged = NAMES

    def generated(params: Params, own: Key) -> tuple[Float[Array, "b l"], Array]:
        z = keys.draw(jax.random.normal, keys.fold_in(own, 0), (len(own), latents))
        return z, apply(generator, params, {}, z, name=made)[0]

    def reconstructed(params: Params, x: Array, own: Key) -> Float[Array, "b l"]:
        given = keys.draw(jax.random.normal, keys.fold_in(own, 1), (len(own), noise))
        return apply(reconstructor, params, {}, jnp.concatenate([_flat(x), given], axis=-1), name=inverted)[0]

    def judge(params: Params, z: Array, x: Array) -> Float[Array, " b"]:
        return apply(discriminator, params, {}, jnp.concatenate([z, _flat(x)], axis=-1), name=judged)[0]

    def of_discriminator(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        own, x = keys.per_example(key, batch), batch[feature]
        mean = reconstructed(params, x, own)
        on_made = judge(params, *generated(params, own))
        on_data = judge(params, mean + keys.draw(jax.random.normal, keys.fold_in(own, 2), mean.shape), x)
        metrics = {"generated_probability": jax.nn.sigmoid(on_made), "reconstructed_probability": jax.nn.sigmoid(on_data)}
        return minimax.discriminator(on_made, on_data), Aux(metrics=metrics)

    def of_generator(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        own = keys.per_example(key, batch)
        z, x = generated(params, own)
        squares = jnp.square(z - reconstructed(params, x, own)).sum(-1)
        reconstruction = (squares + latents * math.log(2 * math.pi)) / 2
        return judge(params, z, x) + reconstruction, Aux(metrics={"reconstruction": reconstruction})

    return of_discriminator, of_generator


def _flat(x: Float[Array, "b *shape"]) -> Float[Array, "b n"]:
    return x.reshape(len(x), -1)
