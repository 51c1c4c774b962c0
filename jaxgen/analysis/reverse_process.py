"""Samples and pictures of diffusion models: the way from noise to images, step by step."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxgen import diffusion, samplers
from jaxgen.analysis import trajectories
from jaxgen.game import TrainState
from jaxgen.pictures import Picture
from jaxgen.samples.conditions import Conditions, given
from jaxgen.types import Array, Batch, Key

Walk = Callable[[TrainState, Key, Batch, int], samplers.Samples]
"""`walk(state, key, given, k)`: samples, and k states on the way to them."""


def walk(
    denoise: Callable[[TrainState, Batch], diffusion.Denoise],
    sampler: samplers.Sampler,
    start: diffusion.Level,
    shape: tuple[int, ...],
) -> Walk:
    """The way from noise to samples, compiled.

    Args:
      denoise: the function `(state, given) -> denoise`: the model with the conditions of the samples.
      sampler: the sampler.
      start: the level of the noise that it starts from.
      shape: the shape of one sample.

    Returns:
      `walk(state, key, given, k)`. The noise at the start and the sampler's own have keys of their own.
    """

    def from_noise(state: TrainState, key: Key, given: Batch, columns: int) -> samplers.Samples:
        first, path = jax.random.split(key)
        x = samplers.noise(first, (len(given["index"]), *shape), start)
        return sampler(denoise(state, given), x, path, trajectory=columns)

    return jax.jit(from_noise, static_argnums=3)


def visible(x: Array, pixels: tuple[float, float]) -> Array:
    """Values of a range of pixels as brightness in [0, 1]; those outside are clipped."""
    return jnp.clip((x - pixels[0]) / (pixels[1] - pixels[0]), 0.0, 1.0)


def sampler_of(walk: Walk, pixels: tuple[float, float]) -> Callable[[TrainState, Key, Batch], Array]:
    """The `Experiment.sample` of a walk: images in [0, 1].

    Args:
      walk: the walk.
      pixels: the range of the model's pixels.

    Returns:
      `sample(state, key, given)`.
    """

    def sample(state: TrainState, key: Key, given: Batch) -> Array:
        return visible(walk(state, key, given, 0).x, pixels)

    return sample


def album(
    walk: Walk,
    noise: diffusion.Discrete,
    shown: Array,
    *,
    pixels: tuple[float, float],
    told: tuple[str, str, str],
    conditions: Conditions | None = None,
) -> Mapping[str, Callable[[TrainState, Key], Picture]]:
    """Pictures: samples, the forward process, and the reverse process.

    Args:
      walk: the walk.
      noise: the chain whose forward process is shown, no longer than a row of the picture.
      shown: images to show the forward process of, a row each.
      pixels: the range of the model's pixels.
      told: the captions of the samples, of the forward process and of the reverse process.
      conditions: the conditions of the samples.

    Returns:
      The pictures by name, for `Experiment.pictures`.
    """
    of_samples, of_forward, of_reverse = told

    def samples(state: TrainState, key: Key) -> Picture:
        images = visible(walk(state, key, given(64, conditions), 0).x, pixels)
        return Picture(images, 16, f"{of_samples}; training step {int(state.step):,}")

    def forward(state: TrainState, key: Key) -> Picture:
        path = diffusion.forward(noise, shown, key)
        return Picture(visible(trajectories.rows(path), pixels), len(path), of_forward)

    def reverse(state: TrainState, key: Key) -> Picture:
        path = walk(state, key, given(len(shown), conditions), 16).trajectory
        assert path is not None, "16 states were asked for"
        return Picture(visible(trajectories.rows(path), pixels), len(path), f"{of_reverse}; training step {int(state.step):,}")

    return {"samples": samples, "forward": forward, "reverse": reverse}
