"""Denoising diffusion probabilistic model (Ho et al. 2020), sampled as a Markov chain or by DDIM (Song et al. 2020).

python -m experiments.ddpm                                           # digits, nothing to download
python -m experiments.ddpm --schedule cosine --parameterisation v --sampler ddim --sampling-steps 50
jaxgen sample runs/ddpm --sampler dpm_solver_pp --sampling-steps 15
python -m experiments.ddpm --weighting p2                            # of Choi et al. 2022
python -m experiments.ddpm --dataset mnist --data-dir D --channels 16 32 32 --steps 2000 --nll-samples 5
python -m experiments.ddpm --dataset cifar10 --data-dir D --channels 128 256 256 256 --blocks 2 --flip --variance large \
    --learning-rate 2e-4 --warmup 5000 --batch-size 128 --ema 0.9999 --sampling-steps None --steps 800000       # the paper's

The first takes 8 minutes on 2 cores, gives digits that a person reads, and reaches 4.864 +- 0.026 bits a dimension
on the test images (0.000 the prior, 3.125 the transitions, 1.739 the decoder; seed 0).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, diffusion, keys, objectives, optimizers, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.flags import Count, Counts, Late, Positive, Share, Whole, value_of
from jaxgen.models.diffusion import UNet
from jaxgen.nn import AdaptiveGroupNorm, AdditiveGroupNorm
from jaxgen.objectives import weights
from jaxgen.types import Array, Batch, Key

SCHEDULES: dict[str, Callable[[int], diffusion.Discrete]] = {"linear": diffusion.linear, "cosine": diffusion.cosine}
# By flag: what the network predicts, and the weight of its error.
PARAMETERISATIONS: dict[str, tuple[diffusion.Parameterisation, objectives.Weight]] = {
    "epsilon": (diffusion.EPSILON, objectives.uniform),
    "x0": (diffusion.X0, objectives.uniform),
    "v": (diffusion.V, objectives.uniform),
    "score": (diffusion.SCORE, objectives.by_variance),
}
VARIANCES: dict[str, Callable[[diffusion.Discrete], np.ndarray]] = {
    "small": diffusion.small_variance,
    "large": diffusion.large_variance,
}
# By flag, weights of the noise's error in place of those above.
WEIGHTINGS: dict[str, objectives.Weight] = {"p2": weights.p2(), "min_snr": weights.min_snr()}
NORMS: dict[str, Callable[..., nn.Module]] = {"additive": AdditiveGroupNorm, "adaptive": AdaptiveGroupNorm}
PIXELS = (-1.0, 1.0)


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    flip: bool = False,
    labels: bool = False,
    schedule: Literal["linear", "cosine"] | Callable[[int], diffusion.Discrete] = "linear",
    parameterisation: Literal["epsilon", "x0", "v", "score"] | tuple[diffusion.Parameterisation, objectives.Weight] = "epsilon",
    weighting: Literal["p2", "min_snr"] | objectives.Weight | None = None,
    timesteps: Count = 1000,
    sampler: Late[samplers.OnChain] = "ancestral",
    variance: Late[Literal["small", "large"] | Callable[[diffusion.Discrete], np.ndarray]] = "small",
    sampling_steps: Late[Count | None] = 100,
    channels: Counts = (32, 64),
    blocks: Whole = 1,
    attention: tuple[Whole, ...] = (16,),
    dropout: Share = 0.1,
    modulation: Literal["additive", "adaptive"] | Callable[..., nn.Module] = "additive",
    steps: Whole = 2000,
    batch_size: Count = 64,
    learning_rate: Positive = 1e-3,
    warmup: Whole = 0,
    clip: Positive = 1.0,
    ema: Share = 0.995,
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
    nll_samples: Late[Count] = 50,
) -> jaxgen.Experiment:
    """A diffusion model of the images of any dataset.

    Args:
      labels: whether to condition the model on each image's class, and sample a class after the other.
      schedule: variances of the forward process, linear in t or by a cosine.
      parameterisation: the quantity that the network predicts.
      weighting: the weight of the noise's error by its level, of Choi et al. 2022 (P2) or Hang et al. 2023 (min-SNR, at most
        5); None is the parameterisation's own.
      variance: the variance of the reverse steps, that of the posterior (small) or of the forward process (large).
      sampling_steps: steps of the sampler, evenly spaced in T; by None all T.
      modulation: the way in which a block is conditioned on the time: a shift, or a scale and a shift of its normalisation.
      warmup: steps over which the learning rate rises from zero along a line; the paper's code has 5,000.
      nll_samples: transitions of each test image, drawn by importance, from which the final bound is estimated; T - 1 are all.
    """
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    classes = data.common_classes("label", train, test) if labels else ()
    conditions = jaxgen.Conditions.of_classes(classes) if labels else None
    if sampling_steps is not None and sampling_steps > timesteps:
        raise jaxgen.UserError(
            f"--sampling-steps {sampling_steps} are more than --timesteps {timesteps}; give as many or fewer."
        )
    if channels[0] % 2 or channels[0] < 4:
        raise jaxgen.UserError(
            f"--channels begins with {channels[0]}; the waves that tell the time want an even number from 4."
        )
    transform = data.scale(*PIXELS)
    augment = data.chain(transform, data.flip()) if flip else transform

    noise = value_of(SCHEDULES, schedule)(timesteps)
    meaning, weight = value_of(PARAMETERISATIONS, parameterisation)
    if weighting is not None:
        weight = objectives.on_noise(value_of(WEIGHTINGS, weighting), meaning)
    model = UNet(
        channels,
        blocks,
        attention,
        dropout=dropout,
        norm=value_of(NORMS, modulation),
        classes=len(classes),
        remat=remat,
        dtype=jnp.bfloat16 if bf16 else jnp.float32,
    )
    told = {"label": objectives.Told("label")} if labels else {}
    loss = objectives.denoising_score_matching(model, noise, meaning, weight=weight, told=told)
    rate = optimizers.learning_rate(learning_rate, steps=steps, warmup=warmup)
    players = {"model": jaxgen.Player(loss, optimizers.clipped(optax.adam(rate), clip))}

    chain = noise if sampling_steps is None else diffusion.spaced(noise, sampling_steps)
    variances = value_of(VARIANCES, variance)
    methods: samplers.Methods = {
        **samplers.ON_CHAIN,
        "ancestral": functools.partial(samplers.ancestral, variance=variances),
    }
    denoise = diffusion_model.denoise_by(model, meaning, told=told, clip=PIXELS)
    draw, most = methods[sampler](chain), chain.level(chain.steps)
    diffused = diffusion_model.of_sampler(denoise, draw, most, image, pixels=PIXELS, conditions=conditions)

    def bound(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        own = keys.per_example(key, batch)
        found = objectives.variational_bound(
            denoise(state, batch), noise, batch["image"], own, variance=variances, samples=nll_samples
        )
        return found.bits

    def over_test(measure: jaxgen.Measure) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform)

    shown = data.examples(test, 8, transform)["image"]
    label = (jnp.zeros(1, jnp.int32),) if labels else ()
    role = diffusion.Trained(noise, meaning, PIXELS, tuple(told))
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players=players,
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)), jnp.zeros(1), *label, role=role)},
        splits={"train": train, "test": test},
        evaluators={"test": over_test(jaxgen.loss_of(players["model"]))},
        final={"test": over_test(bound)},
        pictures=diffused.pictures(shown, diffusion.spaced(noise, min(15, timesteps)), drawn=f"{chain.steps} {sampler} steps"),
        sample=diffused.sample,
        sampling=("sampler", "sampling_steps", "variance"),
        given=conditions,
        ema=ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
        protocol=dict.fromkeys(
            ("bits_per_dim", "prior", "transitions", "decoder"),
            ("labels", "nll_samples", "parameterisation", "schedule", "timesteps", "variance"),
        ),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
