"""Improved DDPM (Nichol & Dhariwal 2021): a diffusion model that learns the variance of its reverse steps.

python -m experiments.improved_ddpm                                  # digits, nothing to download
python -m experiments.improved_ddpm --objective vlb                  # the bound itself, its steps drawn by their losses
python -m experiments.improved_ddpm --objective simple               # a fixed variance, as in experiments.ddpm
python -m experiments.improved_ddpm --dataset mnist --data-dir D --channels 16 32 32 --steps 15000
jaxgen sample runs/improved_ddpm --sampling-steps 25
jaxgen evaluate runs/improved_ddpm --variance large
python -m experiments.improved_ddpm --dataset cifar10 --data-dir D --timesteps 4000 --channels 128 256 256 256 --blocks 3 \
    --attention 16 8 --dropout 0.3 --learning-rate 1e-4 --batch-size 128 --ema 0.9999 --sampling-steps None \
    --nll-samples 3999 --steps 500000                                # the paper's

The first takes 6 minutes of processor time, gives digits that a person reads, and reaches 4.257 +- 0.022 bits a dimension
on the test images (0.000 the prior, 3.055 the transitions, 1.203 the decoder; seed 0). The bound alone learns more slowly:
after as many steps the second is at 6.122 +- 0.019, still falling, and its samples are not digits yet.

Against the paper and the authors' code (github.com/openai/improved-diffusion):

| | the paper, or its code | here |
| --- | --- | --- |
| variance | log-linear between beta~ and beta, by a v that is not bounded | the same |
| hybrid | the noise's mean squared error + T/1000 of a term in bits, whose mean is detached | the same |
| bound | T times a term in bits, by importance over the last 10 losses of each step | the same |
| network | scale and shift, 4 heads, the time in [0, 1000) | the same; the time in (0, 1000] |
| decoder | 256 levels, tanh for the normal's distribution function | 256 levels, the function itself |
| chain | cosine, T = 4000; fractional strides for fewer steps | the same; T = 1000 by default |
| optimizer | AdamW of 1e-4 without decay, which is Adam; no warm-up, no clipping | the same; a rate of 1e-3 by default |
| bits | all T terms of the bound, predictions clipped | transitions drawn by importance; all by `--nll-samples` |
| classes, 256x256 | ImageNet by class, two-stage upsampling | not here |
"""

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, diffusion, keys, objectives, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.flags import Count, Counts, Late, Positive, Share, Whole, value_of
from jaxgen.game import merging
from jaxgen.models.diffusion import presets
from jaxgen.nn import Sinusoidal
from jaxgen.objectives.learned_variance import HISTORY
from jaxgen.types import Array, Batch, Key, Params, Vars

SCHEDULES: dict[str, Callable[[int], diffusion.Discrete]] = {"linear": diffusion.linear, "cosine": diffusion.cosine}
VARIANCES: dict[str, diffusion.Variance] = {
    "learned": diffusion.learned_range,
    "small": diffusion.small_variance,
    "large": diffusion.large_variance,
}
PIXELS = (-1.0, 1.0)


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    flip: bool = False,
    objective: Literal["hybrid", "vlb", "simple"] = "hybrid",
    schedule: Literal["linear", "cosine"] | Callable[[int], diffusion.Discrete] = "cosine",
    timesteps: Count = 1000,
    sampler: Late[samplers.OnChain] = "ancestral",
    variance: Late[Literal["learned", "small", "large"] | diffusion.Variance | None] = None,
    sampling_steps: Late[Count | None] = 100,
    channels: Counts = (32, 64),
    blocks: Whole = 1,
    attention: tuple[Whole, ...] = (16,),
    heads: Count = 4,
    dropout: Share = 0.1,
    steps: Whole = 2000,
    batch_size: Count = 64,
    learning_rate: Positive = 1e-3,
    ema: Share = 0.995,
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
    nll_samples: Late[Count] = 50,
) -> jaxgen.Experiment:
    """A diffusion model of the images of any dataset, with a learned reverse variance.

    Args:
      objective: the loss: the noise's error with a little of the bound, the bound alone, or the noise's error alone, with which
        the network predicts no variance.
      schedule: variances of the forward process, linear in t or by a cosine.
      variance: the variance of the reverse steps: the network's, the posterior's (small) or the forward process's (large); by
        default the network's where it has one, and otherwise the small.
      sampling_steps: steps of the sampler, evenly spaced in T, the first one included; by None all T.
      heads: the number of attention heads.
      nll_samples: transitions of each test image, drawn by importance, from which the final bound is estimated; T - 1 are all.
    """
    learns = objective != "simple"
    reverse = value_of(VARIANCES, variance or ("learned" if learns else "small"))
    if reverse is diffusion.learned_range and not learns:
        raise jaxgen.UserError("--objective simple trains no variance; give --variance small or large, or leave it out.")
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    if sampling_steps is not None and sampling_steps > timesteps:
        raise jaxgen.UserError(
            f"--sampling-steps {sampling_steps} are more than --timesteps {timesteps}; give as many or fewer."
        )
    transform = data.scale(*PIXELS)
    augment = data.chain(transform, data.flip()) if flip else transform

    noise = value_of(SCHEDULES, schedule)(timesteps)
    model = presets.improved_ddpm(
        channels[0],
        tuple(c / channels[0] for c in channels),
        blocks,
        None,
        attention=attention,
        heads=heads,
        dropout=dropout,
        time=Sinusoidal(channels[0], scale=1000 / timesteps, endpoint=False, cosines_first=True),
        outputs=(2 if learns else 1) * image[-1],
        remat=remat,
        dtype=jnp.bfloat16 if bf16 else jnp.float32,
    )
    role = diffusion.Trained(noise, diffusion.EPSILON, PIXELS)
    networks = {"model": jaxgen.Network(model, jnp.zeros((1, *image)), jnp.zeros(1), role=role)}
    law, rules = objectives.SecondMoment(timesteps), {}
    if objective == "vlb":
        loss, rules = objectives.vlb(model, noise, law=law), {HISTORY: merging.same}
    else:
        loss = (objectives.hybrid if learns else objectives.denoising_score_matching)(model, noise)
    players = {"model": jaxgen.Player(loss, optax.adam(learning_rate), merge=rules)}

    def init(key: Key) -> tuple[Params, Vars]:
        params, vars = jaxgen.initialize(networks)(key)
        return params, {**vars, HISTORY: law.empty()}

    chain = noise if sampling_steps is None else diffusion.spaced(noise, sampling_steps, first=True)
    methods: samplers.Methods = {
        **samplers.ON_CHAIN,
        "ancestral": functools.partial(samplers.ancestral, variance=reverse),
    }
    denoise = diffusion_model.denoise_by(model, clip=PIXELS)
    diffused = diffusion_model.of_sampler(denoise, methods[sampler](chain), chain.level(chain.steps), image, pixels=PIXELS)

    def bound(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        own, known = keys.per_example(key, batch), denoise(state, batch)
        return objectives.variational_bound(known, noise, batch["image"], own, variance=reverse, samples=nll_samples).bits

    def over_test(measure: jaxgen.Measure) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform)

    shown = data.examples(test, 8, transform)["image"]
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players=players,
        steps=steps,
        networks=networks,
        init=init if objective == "vlb" else None,
        splits={"train": train, "test": test},
        evaluators={"test": over_test(jaxgen.loss_of(players["model"]))},
        final={"test": over_test(bound)},
        pictures=diffused.pictures(shown, diffusion.spaced(noise, min(15, timesteps)), drawn=f"{chain.steps} {sampler} steps"),
        sample=diffused.sample,
        sampling=("sampler", "sampling_steps", "variance"),
        ema=ema,
        accumulate=accumulate,
        protocol=dict.fromkeys(
            ("bits_per_dim", "prior", "transitions", "decoder"), ("nll_samples", "schedule", "timesteps", "variance")
        ),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
