"""A model with a latent space as a value: its encoder, decoder and sampler as functions of a state, and its pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import objectives
from jaxgen.analysis import latent_space
from jaxgen.distributions import Normal
from jaxgen.game import TrainState
from jaxgen.objectives.adversarial import LatentLaw, normal_law
from jaxgen.pictures import Picture
from jaxgen.samples.conditions import given as batch_of
from jaxgen.types import Array, Batch, Key

TEMPERATURES = (0.5, 0.7, 0.85, 1.0)
"""The temperatures of the rows of samples in a picture of a flow."""


class LatentModel(NamedTuple):
    """The functions of a state that models with a latent space have in common, for an `Experiment`.

    Fields:
      decode: the decoder, `(state, z [N, L]) -> images [N, H, W, C]` in [0, 1].
      encode: the encoder, `(state, x [N, H, W, C]) -> z [N, L]`; None of a model that has none.
      law: the law of z; None of a model whose latents have none, which cannot be sampled from.
      pixels: the values of black and white in x.
      kl: the KL of each latent's posterior from the prior, `(state, x) -> [N, L]`, in nats; None where it has no closed form.
    """

    decode: Callable[[TrainState, Array], Array]
    encode: Callable[[TrainState, Array], Array] | None = None
    law: LatentLaw | None = None
    pixels: tuple[float, float] = (0.0, 1.0)
    kl: Callable[[TrainState, Array], Array] | None = None

    def sample(self, state: TrainState, key: Key, given: Batch) -> Array:
        """Images of latents that are drawn by their law: `Experiment.sample`."""
        assert self.law is not None, "the latents of this model have no law to draw them by"
        return self.decode(state, self.law(key, len(given["index"])))

    def pictures(self, x: Array | None = None) -> dict[str, Callable[[TrainState, Key], Picture]]:
        """The pictures of the model, for `Experiment.pictures`.

        Args:
          x: test images, `[N, H, W, C]`, 32 or as many as there are; for a model that has an encoder.

        Returns:
          The pictures by name. A model with an encoder has `reconstructions` and `interpolations` of test images; with a law as
          well it has `traversals` and `samples` too, and `kls` where these have a closed form. A model without an encoder
          has `samples`, `interpolations` and `arithmetic`.
        """
        if self.encode is None:
            assert self.law is not None, "a model without an encoder draws its latents"
            return latent_space.prior_album(self.decode, self.law)
        assert x is not None, "a model with an encoder shows test images"
        album = latent_space.album(self.encode, self.decode, x, pixels=self.pixels)
        if self.law is None:
            # Without a law the latents have no scale to walk along.
            return {name: picture for name, picture in album.items() if name != "traversals"}

        def samples(state: TrainState, key: Key) -> Picture:
            images = self.sample(state, key, batch_of(64))
            return Picture(images, 16, f"Samples of the prior, decoded; step {int(state.step):,}")

        def kls(state: TrainState, key: Key) -> Picture:
            assert self.kl is not None
            return latent_space.kls([self.kl(state, x).mean(0)], step=int(state.step))

        return {"samples": samples, **album, **({"kls": kls} if self.kl else {})}


def of_vae(model: nn.Module, latents: int, *, pixels: tuple[float, float] = (0.0, 1.0), normal: bool = True) -> LatentModel:
    """The latent model of a variational autoencoder: means of q(z | x) and of p(x | z), and z of N(0, I).

    Args:
      model: a module whose methods `encode` and `decode` give distributions.
      latents: the dimension L of z.
      pixels: the values of black and white in x.
      normal: whether q(z | x) is a `Normal`, whose KL has a closed form.

    Returns:
      The latent model.
    """

    @jax.jit
    def kl(state: TrainState, x: Array) -> Array:
        q = objectives.apply(model, state.params, state.vars, x, method="encode")[0]
        return q.kl(Normal())

    return of_autoencoder(model, pixels=pixels, mean=True)._replace(law=normal_law(latents), kl=kl if normal else None)


def of_autoencoder(model: nn.Module, *, pixels: tuple[float, float] = (0.0, 1.0), mean: bool = False) -> LatentModel:
    """The latent model of an autoencoder whose method `decode` gives a distribution of images.

    Args:
      model: the module.
      pixels: the values of black and white in x.
      mean: whether `encode` gives a distribution too, whose mean is the code.

    Returns:
      The latent model.
    """
    low, high = pixels

    @jax.jit
    def encode(state: TrainState, x: Array) -> Array:
        z = objectives.apply(model, state.params, state.vars, x, method="encode")[0]
        return z.mean if mean else z

    @jax.jit
    def decode(state: TrainState, z: Array) -> Array:
        x = objectives.apply(model, state.params, state.vars, z, method="decode")[0].mean
        return jnp.clip((x - low) / (high - low), 0.0, 1.0)  # a Gaussian's mean may lie outside

    return LatentModel(decode, encode, pixels=pixels)


def of_generator(
    generator: nn.Module,
    latents: int | LatentLaw,
    *,
    pixels: tuple[float, float] = (-1.0, 1.0),
    name: str = "generator",
    params: Callable[[TrainState], Any] = lambda state: state.params,
    told: Callable[[TrainState], Mapping[str, Any]] = lambda state: {},
) -> LatentModel:
    r"""The latent model of a generator.

    Args:
      generator: a module `z [N, L] -> x [N, H, W, C]`.
      latents: the dimension L of $z \sim N(0, I)$, or the law of z.
      pixels: the values of black and white in x.
      name: the name of its parameters.
      params: the parameters by name, of a state.
      told: further arguments of the module, by keyword, of a state.

    Returns:
      The latent model.
    """
    low, high = pixels

    @jax.jit
    def decode(state: TrainState, z: Array) -> Array:
        x = objectives.apply(generator, params(state), state.vars, z, name=name, told=told(state))[0]
        return jnp.clip((x - low) / (high - low), 0.0, 1.0)  # not all generators end in tanh

    return LatentModel(decode, law=normal_law(latents) if isinstance(latents, int) else latents, pixels=pixels)


def of_flow(model: nn.Module, shape: tuple[int, int, int], *, temperature: float = 1.0) -> LatentModel:
    r"""The latent model of a flow of images in [0, 1): z is as long as an image has numbers, $z \sim N(0, T^2 I)$.

    Args:
      model: a flow.
      shape: the shape (H, W, C) of an image.
      temperature: the temperature T of the samples.

    Returns:
      The latent model.

    Source: Kingma & Dhariwal 2018, section 6, for the temperature.
    """

    @jax.jit
    def encode(state: TrainState, x: Array) -> Array:
        (z, _), _ = objectives.apply(model, state.params, state.vars, x)
        return z.reshape(len(x), -1)

    @jax.jit
    def decode(state: TrainState, z: Array) -> Array:
        variables = {"params": state.params["model"], **state.vars.get("model", {})}
        x: Any = model.apply(variables, z.reshape(-1, *shape), method="inverse")
        return jnp.clip(x, 0.0, 1.0)

    size = shape[0] * shape[1] * shape[2]
    return LatentModel(decode, encode, lambda key, n: temperature * jax.random.normal(key, (n, size)))


def temperature_album(
    space: LatentModel, x: Array, *, temperatures: Sequence[float] = TEMPERATURES
) -> dict[str, Callable[[TrainState, Key], Picture]]:
    """The pictures of a flow, for `Experiment.pictures`.

    Args:
      space: the latent model of the flow.
      x: dequantised test images, 16 or as many as there are.
      temperatures: the temperatures, each of which has two rows of samples.

    Returns:
      `samples` and `interpolations`. There are no reconstructions, which would be the images themselves.
    """
    assert space.encode is not None, "a flow encodes"

    def samples(state: TrainState, key: Key) -> Picture:
        z = jax.random.normal(key, (32, x[0].size))
        images = jnp.concatenate([space.decode(state, t * z) for t in temperatures])
        shown = ", ".join(f"{t:g}" for t in temperatures)
        return Picture(images, 16, f"Samples, two rows each of the temperatures {shown}; step {int(state.step):,}")

    return {"samples": samples, "interpolations": latent_space.album(space.encode, space.decode, x)["interpolations"]}
