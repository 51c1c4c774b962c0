"""Variational diffusion."""

from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, diffusion, keys, objectives, optimizers, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.diffusion import grids
from jaxgen.flags import Count, Late, NonNegative, Positive, Share, Whole
from jaxgen.models.diffusion import FixedGamma, LinearGamma, MonotoneGamma, presets
from jaxgen.types import Array, Batch, Key, PyTree

PIXELS = (-255 / 256, 255 / 256)
"""The middles of 256 equal parts of [-1, 1]."""
GAMMAS: dict[str, type[FixedGamma | LinearGamma | MonotoneGamma]] = {
    "fixed": FixedGamma,
    "scalar": LinearGamma,
    "network": MonotoneGamma,
}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    flip: bool = False,
    gamma: Literal["fixed", "scalar", "network"] = "network",
    gamma_ends: tuple[float, float] = (-13.3, 5.0),
    timesteps: Count | None = None,
    sampling_steps: Late[Count] = 250,
    channels: Count = 32,
    blocks: Whole = 2,
    attend: bool = False,
    dropout: Share = 0.1,
    steps: Whole = 1500,
    batch_size: Count = 64,
    learning_rate: Positive = 2e-3,
    gamma_rate: Positive = 1e-2,
    weight_decay: NonNegative = 0.01,
    warmup: Whole = 100,
    clip: Positive = 1.0,
    ema: Share = 0.995,
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
    nll_samples: Late[Count] = 32,
    nll_timesteps: Late[Count] = 1000,
) -> jaxgen.Experiment:
    """A variational diffusion model of the images of any dataset.

    Args:
      gamma: the schedule.
    """
    low, high = gamma_ends
    if low >= high:
        raise jaxgen.UserError(f"--gamma-ends {low:g} {high:g} do not ascend.")
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    transform = data.scale(*PIXELS)
    augment = data.chain(transform, data.flip()) if flip else transform

    schedule = GAMMAS[gamma](low, high)
    meaning = diffusion.timed(diffusion.EPSILON, diffusion.time_by_gamma(low, high))
    model = presets.vdm(
        channels,
        blocks,
        attention_levels=(0,) if attend else (),
        outputs=image[-1],
        dropout=dropout,
        remat=remat,
        dtype=jnp.bfloat16 if bf16 else jnp.float32,
    )
    networks = {
        "model": jaxgen.Network(model, jnp.zeros((1, *image)), jnp.zeros(1)),
        "schedule": jaxgen.Network(schedule, jnp.zeros(1)),
    }

    def weights(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key != "bias", params)

    rates = [optimizers.learning_rate(peak, steps=steps, warmup=warmup) for peak in (learning_rate, gamma_rate)]
    adamw = optax.adamw(rates[0], b2=0.99, weight_decay=weight_decay, mask=weights)
    tx = optax.partition(
        {
            "model": optimizers.clipped(adamw, clip),
            "schedule": optimizers.clipped(optax.adam(rates[1], b2=0.99), clip),
        },
        {name: name for name in networks},
    )
    loss = objectives.vdm(model, schedule, meaning, steps=timesteps)
    players = {"model": jaxgen.Player(loss, tx, owns=tuple(networks))}

    denoise = diffusion_model.denoise_by(model, meaning)

    def sampler(state: jaxgen.TrainState) -> samplers.Sampler:
        own = objectives.gamma_of(schedule, state.params, state.vars)
        return samplers.along_gamma(own(jnp.linspace(0.0, 1.0, sampling_steps + 1)), objectives.nearest_level)

    one = diffusion.Level(*map(jnp.float32, (1.0, 0.0, 1.0)))
    diffused = diffusion_model.of_learned_sampler(denoise, sampler, one, image, pixels=PIXELS)

    def bound(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        own, x0 = keys.per_example(key, batch), batch["image"]
        of = denoise(state, batch), objectives.gamma_of(schedule, state.params, state.vars)
        found = objectives.vdm_bits(*of, x0, own, samples=nll_samples)
        chain = objectives.vdm_bits(*of, x0, own, samples=nll_samples, steps=nll_timesteps)
        return {**found, "chain_bits_per_dim": chain["bits_per_dim"]}

    def over_test(measure: jaxgen.Measure) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform)

    line = diffusion.from_gamma(FixedGamma(low, high))
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players=players,
        steps=steps,
        networks=networks,
        splits={"train": train, "test": test},
        evaluators={"test": over_test(jaxgen.loss_of(players["model"]))},
        final={"test": over_test(bound)},
        pictures=diffused.pictures(
            data.examples(test, 8, transform)["image"],
            diffusion.discretised(line, grids.even(line, 15)),
            drawn=f"{sampling_steps} ancestral steps",
        ),
        sample=diffused.sample,
        sampling=("sampling_steps",),
        ema=ema,
        accumulate=accumulate,
        schedules={"learning_rate": rates[0]},
        protocol={
            **dict.fromkeys(("bits_per_dim", "prior", "transitions", "decoder", "variance"), ("nll_samples",)),
            "chain_bits_per_dim": ("nll_samples", "nll_timesteps"),
        },
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
