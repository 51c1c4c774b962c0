"""Score-based generative modelling through stochastic differential equations (Song et al. 2021).

python -m experiments.score_sde                                      # digits, nothing to download
python -m experiments.score_sde --sde sub_vp --weighting likelihood
python -m experiments.score_sde --sde ve --dataset mnist --data-dir D --bits 8 --channels 32 64 64 --steps 20000
jaxgen sample runs/score_sde --sampler ode
jaxgen sample runs/score_sde --sampler predictor_corrector --predictor ancestral --corrector-steps 2

A network learns the score of data at all levels of noise of a forward SDE. Samples come of the reverse-time SDE, with Langevin
steps that correct them, or of the probability-flow ODE, which also gives the likelihood: `bits_per_dim` at the end, on all test
images. The first command reaches 2.141 +- 0.013 bits a dimension, of 16 levels (seed 0), and most of its digits can be read.

Against the paper and the authors' code (github.com/yang-song/score_sde, and its PyTorch version):

| | the paper, or its code | here |
| --- | --- | --- |
| SDEs | VP and sub-VP with beta from 0.1 to 20; VE with sigma from 0.01 to 50, of pixels in [0, 1] | the same; pixels \
always lie in [-1, 1], where the same noise of VE is 0.02 to 100 |
| networks | DDPM++ at 999 t, NCSN++ at log sigma, 4 or 8 blocks a level of 128 to 256 channels | the same, small by default |
| loss | the noise's error with t uniform from 1e-5; of VE half its sum over the pixels | the same; always its mean |
| `--weighting likelihood` | g(t)^2 / sigma(t)^2 with t uniform | the same |
| optimizer | Adam of 2e-4, a warm-up over 5,000 steps, averages of 0.9999, of VE 0.999 | Adam of 1e-3 |
| predictors | steps of discretised betas, 1,000 of them | exact steps of the SDE between the times; the same of VE |
| corrector | before the predictor; its norms are means over the batch | before it; the norms are the example's own |
| default sampler | Euler-Maruyama alone for VP and sub-VP, reverse diffusion and a corrector for VE | the latter for all |
| ends of sampling | t = 1e-3, of VE 1e-5; the last step without noise | the same; Euler-Maruyama ends with the predicted data |
| flow | RK45 of SciPy with tolerances of 1e-5, one error for the whole batch | the same method with 1e-4, an error for each \
example |
| bits | one probe, from t = 1e-5, 256 levels, noise within a level in the evaluation alone | the same; the levels of \
`--bits`; that noise in training too, because the 16 levels of digits would show |
| the prior of bits | N(0, 1), of VE N(0, sigma(1)^2) | N(0, sigma(1)^2), from which samples start |

At t = 1e-5 the bits leave out the noise that is still there, as the authors' do: neither the entropy of q(x_t | x_0) nor a
decoder is added. Figures of other first times do not compare.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, diffusion, keys, objectives, optimizers, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.diffusion import grids
from jaxgen.flags import Bits, Count, Counts, Late, Positive, Share, Whole, value_of
from jaxgen.models.diffusion import UNet, presets
from jaxgen.objectives import weights
from jaxgen.samplers import tables
from jaxgen.types import Array, Batch, Key

PIXELS = (-1.0, 1.0)
FIRST = 1e-5
"""The least time in training, and of the likelihood."""


class Sde(NamedTuple):
    """A forward process and what the paper pairs with it.

    Fields:
      schedule: alpha, sigma and the times of training.
      meaning: the meaning of the network's output, and the time that the network gets.
      network: the function that makes the network, as those of `models.diffusion.presets`.
      variance: the variance of ancestral sampling.
      last: the time that sampling ends at.
    """

    schedule: diffusion.Continuous
    meaning: diffusion.Parameterisation
    network: Callable[..., UNet]
    variance: diffusion.Variance
    last: float


VARIANCE_PRESERVING = Sde(
    diffusion.variance_preserving(start=FIRST),
    diffusion.timed(diffusion.EPSILON, lambda level: 999 * level.time),
    presets.ddpmpp,
    diffusion.large_variance,
    1e-3,
)
SDES: dict[str, Sde] = {
    "vp": VARIANCE_PRESERVING,
    "sub_vp": VARIANCE_PRESERVING._replace(schedule=diffusion.sub_variance_preserving(start=FIRST)),
    "ve": Sde(
        diffusion.variance_exploding(0.02, 100.0)._replace(start=FIRST),
        diffusion.VE,
        presets.ncsnpp,
        diffusion.small_variance,
        FIRST,
    ),
}
# Weights of the noise's error, of the schedule.
WEIGHTINGS: dict[str, Callable[[diffusion.Continuous], objectives.Weight]] = {
    "uniform": lambda schedule: objectives.uniform,
    "likelihood": weights.likelihood,
}
# Of the SDE and the times of its steps.
PREDICTORS: dict[str, Callable[[Sde, np.ndarray], tables.Table]] = {
    "reverse_diffusion": lambda sde, times: tables.reverse_diffusion(diffusion.discretised(sde.schedule, times)),
    "euler_maruyama": lambda sde, times: tables.euler_maruyama(sde.schedule, times),
    "ancestral": lambda sde, times: tables.ancestral(diffusion.discretised(sde.schedule, times), sde.variance),
}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    bits: Bits = 4,
    flip: bool = False,
    sde: Literal["vp", "sub_vp", "ve"] | Sde = "vp",
    weighting: Literal["uniform", "likelihood"] | Callable[[diffusion.Continuous], objectives.Weight] = "uniform",
    sampler: Late[
        Literal["predictor_corrector", "reverse_diffusion", "euler_maruyama", "ode", samplers.OnChain]
    ] = "predictor_corrector",
    sampling_steps: Late[Count] = 100,
    predictor: Late[
        Literal["reverse_diffusion", "euler_maruyama", "ancestral"] | Callable[[Sde, np.ndarray], tables.Table]
    ] = "reverse_diffusion",
    corrector_steps: Late[Whole] = 1,
    snr: Late[Positive] = 0.16,
    tolerance: Late[Positive] = 1e-4,
    channels: Counts = (32, 64),
    blocks: Whole = 1,
    attention: tuple[Whole, ...] = (16,),
    dropout: Share = 0.1,
    steps: Whole = 1200,
    batch_size: Count = 32,
    learning_rate: Positive = 1e-3,
    warmup: Whole = 0,
    clip: Positive = 1.0,
    ema: Share = 0.995,
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
    nll_samples: Late[Count] = 1,
) -> jaxgen.Experiment:
    """Scores of the images of any dataset along a stochastic differential equation.

    Args:
      bits: bits of a pixel; of bytes with fewer than 8 the lowest are dropped.
      sde: the forward process: variance-preserving, the same signal with less noise, or variance-exploding.
      weighting: the weight of the noise's error by time: none, or that by which the loss bounds the likelihood.
      sampling_steps: steps of the sampler; the solver `ode` chooses its own.
      predictor: the predictor of `--sampler predictor_corrector`.
      corrector_steps: Langevin steps before each of the predictor's.
      snr: the signal-to-noise ratio of the Langevin steps.
      tolerance: the relative and the absolute tolerance of the solver, in sampling and in the likelihood.
      warmup: steps over which the learning rate rises from zero along a line; the authors have 5,000.
      nll_samples: random vectors by which the divergence in the likelihood of each test image is estimated.
    """
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    transform = data.chain(data.dequantize(bits), data.scale(*PIXELS))
    augment = data.chain(transform, data.flip()) if flip else transform

    law = value_of(SDES, sde)
    model = law.network(
        channels[0],
        tuple(c / channels[0] for c in channels),
        blocks,
        tuple(level for level in range(len(channels)) if -(-image[0] // 2**level) in attention),
        dropout=dropout,
        remat=remat,
        dtype=jnp.bfloat16 if bf16 else jnp.float32,
    )
    weight = objectives.on_noise(value_of(WEIGHTINGS, weighting)(law.schedule), law.meaning)
    loss = objectives.denoising_score_matching(model, law.schedule, law.meaning, weight=weight)
    rate = optimizers.learning_rate(learning_rate, steps=steps, warmup=warmup)
    players = {"model": jaxgen.Player(loss, optimizers.clipped(optax.adam(rate), clip))}

    sampled = law.schedule._replace(start=law.last)
    times = grids.even(sampled, sampling_steps)
    chain = diffusion.discretised(sampled, times)
    corrected = value_of(PREDICTORS, predictor)
    methods: samplers.Methods = {
        "predictor_corrector": lambda chain: samplers.predictor_corrector(
            corrected(law, times), snr=snr, steps=corrector_steps
        ),
        "reverse_diffusion": lambda chain: samplers.march(tables.reverse_diffusion(chain)),
        "euler_maruyama": lambda chain: samplers.march(tables.euler_maruyama(sampled, times)),
        "ode": lambda chain: samplers.dopri5(sampled, rtol=tolerance, atol=tolerance),
        **samplers.ON_CHAIN,
    }
    denoise = diffusion_model.denoise_by(model, law.meaning)
    diffused = diffusion_model.of_sampler(denoise, methods[sampler](chain), chain.level(chain.steps), image, pixels=PIXELS)

    def likelihood(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        x, own = batch["image"], keys.per_example(key, batch)
        log_prob = objectives.flow_log_prob(
            denoise(state, batch), law.schedule, x, own, probes=nll_samples, rtol=tolerance, atol=tolerance
        )
        return {"bits_per_dim": objectives.bits_of_levels(log_prob, x[0].size, bits=bits, width=PIXELS[1] - PIXELS[0])}

    def over_test(measure: jaxgen.Measure) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform)

    drawn = {"ode": f"ODE at a tolerance of {tolerance:g}"}.get(sampler, f"{sampling_steps} {sampler} steps")
    role = diffusion.Trained(law.schedule, law.meaning, PIXELS)
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players=players,
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)), jnp.zeros(1), role=role)},
        splits={"train": train, "test": test},
        evaluators={"test": over_test(jaxgen.loss_of(players["model"]))},
        final={"test": over_test(likelihood)},
        pictures=diffused.pictures(
            data.examples(test, 8, transform)["image"],
            diffusion.discretised(sampled, grids.even(sampled, 15)),
            drawn=drawn,
        ),
        sample=diffused.sample,
        sampling=("corrector_steps", "predictor", "sampler", "sampling_steps", "snr", "tolerance"),
        ema=ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
        protocol={"bits_per_dim": ("bits", "nll_samples", "sde", "tolerance")},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
