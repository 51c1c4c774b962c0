"""A flow as a model with a latent space: its samples at a temperature, and what is drawn of it."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import objectives
from jaxgen.analysis import latent_space
from jaxgen.analysis.latent_model import LatentModel
from jaxgen.game import TrainState
from jaxgen.pictures import Picture
from jaxgen.types import Array, Key

TEMPERATURES = (0.5, 0.7, 0.85, 1.0)
"""The temperatures of the rows of samples in a picture."""


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


def album(
    space: LatentModel, x: Array, *, temperatures: Sequence[float] = TEMPERATURES
) -> dict[str, Callable[[TrainState, Key], Picture]]:
    """The pictures of a flow, for `Experiment.pictures`.

    Args:
      space: the latent model.
      x: dequantised test images, 16 or as many as there are.
      temperatures: the temperatures, each of which has two rows of samples.

    Returns:
      `samples` and `interpolations`. There are no reconstructions, which would be the images themselves.
    """

    def samples(state: TrainState, key: Key) -> Picture:
        z = jax.random.normal(key, (32, x[0].size))
        images = jnp.concatenate([space.decode(state, t * z) for t in temperatures])
        told = ", ".join(f"{t:g}" for t in temperatures)
        return Picture(images, 16, f"Samples, two rows each of the temperatures {told}; step {int(state.step):,}")

    def interpolations(state: TrainState, key: Key) -> Picture:
        assert space.encode is not None, "a flow encodes"
        z = space.encode(state, x[:16])
        rows = -(-len(z) // 2)
        images = latent_space.interpolations(lambda z: space.decode(state, z), z[:rows], z[len(z) - rows :], steps=16)
        return Picture(images, 16, f"From one test image to another along a line in z; step {int(state.step):,}")

    return {"samples": samples, "interpolations": interpolations}
