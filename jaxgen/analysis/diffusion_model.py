"""A diffusion model as a value: its samples, and the pictures of the way from noise to them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import diffusion, objectives, samplers
from jaxgen.analysis import trajectories
from jaxgen.errors import UserError
from jaxgen.game import TrainState
from jaxgen.network import FrozenNetwork
from jaxgen.pictures import Picture
from jaxgen.samples.conditions import Conditions, given
from jaxgen.types import Array, Batch, Key

DenoiseGiven = Callable[[TrainState, Batch], diffusion.Denoise]
"""`denoise(state, given)`: the model of a state, with the conditions of the samples."""
Walk = Callable[[TrainState, Key, Batch, int], samplers.Samples]
"""`walk(state, key, given, k)`: samples, and k states on the way to them."""


class DiffusionModel(NamedTuple):
    """The functions of a state that diffusion models have in common, for an `Experiment`.

    Fields:
      walk: the way from noise to samples, compiled.
      pixels: the values of black and white.
      conditions: the conditions of the samples, or None.
      latents: the autoencoder whose latents are diffused; None where pixels are.
    """

    walk: Walk
    pixels: tuple[float, float]
    conditions: Conditions | None = None
    latents: objectives.Latents | None = None

    def visible(self, x: Array) -> Array:
        """Pixels as brightness in [0, 1]; those outside are clipped."""
        low, high = self.pixels
        return jnp.clip((x - low) / (high - low), 0.0, 1.0)

    def seen(self, state: TrainState, x: Array) -> Array:
        """States of the walk as images of brightness in [0, 1]; latents are decoded first."""
        return self.visible(x if self.latents is None else self.latents.decode(state, x))

    def sample(self, state: TrainState, key: Key, given: Batch) -> Array:
        """Images in [0, 1]: `Experiment.sample`."""
        return self.seen(state, self.walk(state, key, given, 0).x)

    def pictures(
        self, x: Array, noise: diffusion.Discrete, *, drawn: str
    ) -> Mapping[str, Callable[[TrainState, Key], Picture]]:
        """Pictures of samples, of the forward process, and of the reverse process, for `Experiment.pictures`.

        Args:
          x: test images `[N, H, W, C]`, a row of the forward process each.
          noise: the chain whose forward process is shown, no longer than a row of the picture.
          drawn: the way in which samples are drawn, for the captions, such as "50 ddim steps".

        Returns:
          `samples`, `forward` and `reverse`.
        """

        def samples(state: TrainState, key: Key) -> Picture:
            images = self.sample(state, key, given(64, self.conditions))
            return Picture(images, 16, f"Samples, {drawn}; training step {int(state.step):,}")

        def forward(state: TrainState, key: Key) -> Picture:
            start = x if self.latents is None else self.latents.encode(state, x, None)
            path = diffusion.forward(noise, start, key)
            caption = "The forward process: held-out images, and the noise taking over"
            return Picture(self.seen(state, trajectories.rows(path)), len(path), caption)

        def reverse(state: TrainState, key: Key) -> Picture:
            path = self.walk(state, key, given(len(x), self.conditions), 16).trajectory
            assert path is not None, "16 states were asked for"
            caption = f"The reverse process, {drawn} from noise to samples; training step {int(state.step):,}"
            return Picture(self.seen(state, trajectories.rows(path)), len(path), caption)

        return {"samples": samples, "forward": forward, "reverse": reverse}


def of_sampler(
    denoise: DenoiseGiven,
    sampler: samplers.Sampler,
    start: diffusion.Level,
    shape: tuple[int, ...],
    *,
    pixels: tuple[float, float],
    conditions: Conditions | None = None,
    latents: objectives.Latents | None = None,
) -> DiffusionModel:
    """The diffusion model whose samples a sampler draws.

    Args:
      denoise: the model of a state, `(state, given) -> denoise`.
      sampler: the sampler.
      start: the level of the noise that it starts from.
      shape: the shape of one sample.
      pixels: the values of black and white.
      conditions: the conditions of the samples.
      latents: the autoencoder whose latents the sampler draws.

    Returns:
      The diffusion model.
    """
    how: dict[str, Any] = {"pixels": pixels, "conditions": conditions, "latents": latents}
    return of_learned_sampler(denoise, lambda state: sampler, start, shape, **how)


def of_learned_sampler(
    denoise: DenoiseGiven,
    sampler: Callable[[TrainState], samplers.Sampler],
    start: diffusion.Level,
    shape: tuple[int, ...],
    *,
    pixels: tuple[float, float],
    conditions: Conditions | None = None,
    latents: objectives.Latents | None = None,
) -> DiffusionModel:
    """The diffusion model of a sampler that is learned too, such as one whose reverse variance is measured.

    Args:
      denoise: the model of a state, `(state, given) -> denoise`.
      sampler: the sampler of a state.
      start: the level of the noise that it starts from.
      shape: the shape of one sample.
      pixels: the values of black and white.
      conditions: the conditions of the samples.
      latents: the autoencoder whose latents the sampler draws.

    Returns:
      The diffusion model. The noise at the start and the sampler's own have keys of their own.
    """

    def walk(state: TrainState, key: Key, given: Batch, columns: int) -> samplers.Samples:
        first, path = jax.random.split(key)
        x = samplers.noise(first, (len(given["index"]), *shape), start)
        return sampler(state)(denoise(state, given), x, path, trajectory=columns)

    return DiffusionModel(jax.jit(walk, static_argnums=3), pixels, conditions, latents)


def denoise_by(
    model: nn.Module,
    parameterisation: diffusion.Parameterisation = diffusion.EPSILON,
    *,
    told: Mapping[str, objectives.Told] = {},
    clip: tuple[float, float] | None = None,
    name: str = "model",
) -> DenoiseGiven:
    """A network as the model of a state.

    Args:
      model: the network, a linen module `(x_t, time, ...) -> output`.
      parameterisation: the parameterisation, which says what the output means.
      told: the features that the network is conditioned on, by keyword.
      clip: the range that predicted data are brought into.
      name: the name of the network's parameters.

    Returns:
      `denoise(state, given)`.
    """

    def denoise(state: TrainState, given: Batch) -> diffusion.Denoise:
        own = objectives.tell(told, given)
        return objectives.denoiser_of(model, state.params, state.vars, parameterisation, told=own, clip=clip, name=name)

    return denoise


def trained_on_chain(part: FrozenNetwork, image: tuple[int, ...]) -> tuple[diffusion.Discrete, diffusion.Trained]:
    """The chain and the role of another run's diffusion model without conditions, to be used as a frozen part.

    Args:
      part: the network of the other run.
      image: the shape (H, W, C) of the images that it is to be used on.

    Returns:
      The chain that it was trained on, and its role.

    Raises:
      UserError: if it is no diffusion model on a chain of steps, has a condition, or was made for images of another shape.
    """
    role = part.role
    if not isinstance(role, diffusion.Trained) or not isinstance(role.schedule, diffusion.Discrete):
        raise UserError(f"--model {part.given} is no diffusion model on a chain of steps; give a run of experiments.ddpm.")
    _unconditional(part, role, image, "experiments.ddpm without --labels")
    return role.schedule, role


def trained_in_noise(part: FrozenNetwork, image: tuple[int, ...]) -> diffusion.Trained:
    """The role of another run's denoiser of any noise, whose time is the noise itself, to be gone on with.

    Args:
      part: the network of the other run.
      image: the shape (H, W, C) of the images that it is to be used on.

    Returns:
      Its role, whose schedule is continuous with alpha = 1 and sigma = t.

    Raises:
      UserError: if it is no such denoiser, has a condition, or was made for images of another shape.
    """
    role, times = part.role, jnp.array([0.5, 2.0])
    continuous = isinstance(role, diffusion.Trained) and isinstance(role.schedule, diffusion.Continuous)
    if not continuous or any(
        not np.allclose(of(times), wanted) for of, wanted in ((role.schedule.alpha, jnp.ones(2)), (role.schedule.sigma, times))
    ):
        raise UserError(f"--model {part.given} is no denoiser of noise of any size; give a run of experiments.edm.")
    _unconditional(part, role, image, "experiments.edm")
    return role


def trained_on_path(part: FrozenNetwork, image: tuple[int, ...]) -> diffusion.Trained:
    """The role of another run's network of the velocity on straight paths, to be gone on with.

    Args:
      part: the network of the other run.
      image: the shape (H, W, C) of the images that it is to be used on.

    Returns:
      Its role, whose schedule is continuous with alpha = 1 - t and sigma = t.

    Raises:
      UserError: if it is no such network, has a condition, or was made for images of another shape.
    """
    role, times = part.role, jnp.array([0.25, 0.5])
    continuous = isinstance(role, diffusion.Trained) and isinstance(role.schedule, diffusion.Continuous)
    if not continuous or not _is_path(role, times):
        raise UserError(f"--flow {part.given} is no flow along straight paths; give a run of experiments.flow_matching.")
    _unconditional(part, role, image, "experiments.flow_matching", "--flow")
    return role


def _is_path(role: diffusion.Trained, times: Array) -> bool:
    level = role.schedule.level(times)
    velocity = role.parameterisation.target(jnp.ones(2), jnp.full(2, 3.0), level)
    found, wanted = (level.alpha, level.sigma, velocity), (1 - times, times, jnp.full(2, 2.0))
    return all(np.allclose(one, other) for one, other in zip(found, wanted, strict=True))


def first_stage_of(part: FrozenNetwork, image: tuple[int, ...]) -> diffusion.FirstStage:
    """The role of another run's autoencoder, whose latents are to be diffused.

    Args:
      part: the network of the other run.
      image: the shape (H, W, C) of the images that it is to be used on.

    Returns:
      Its role.

    Raises:
      UserError: if its latents are no maps, or if it was made for images of another shape.
    """
    if not isinstance(part.role, diffusion.FirstStage):
        raise UserError(
            f"--first-stage {part.given} is no autoencoder whose latents are maps; give a run of "
            "experiments.latent_autoencoder."
        )
    _of_the_size(part, image, "--first-stage")
    return part.role


def _unconditional(
    part: FrozenNetwork, role: diffusion.Trained, image: tuple[int, ...], wanted: str, flag: str = "--model"
) -> None:
    if role.conditions:
        raise UserError(
            f"{flag} {part.given} was trained with a condition ({', '.join(role.conditions)}), and here a model without one "
            f"is used; give a run of {wanted}."
        )
    _of_the_size(part, image, flag)


def _of_the_size(part: FrozenNetwork, image: tuple[int, ...], flag: str) -> None:
    own = part.inputs[0].shape[1:]
    if image != own:
        sizes = ["x".join(map(str, shape)) for shape in (image, own)]
        raise UserError(
            f"The images of --dataset are {sizes[0]}, and those of {flag} {sizes[1]}; give the set that it was trained on."
        )
