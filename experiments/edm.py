"""EDM (Karras et al. 2022): a preconditioned denoiser of data with noise of any size, and a sampler of few steps.

python -m experiments.edm                                            # digits, nothing to download
python -m experiments.edm --dataset mnist --data-dir D --channels 16 32 32 --steps 15000
jaxgen sample runs/edm --sampler dpm_solver_pp --sampling-steps 9
jaxgen sample runs/edm --sampling-steps 40 --churn 40
python -m experiments.edm --augment 0.12 --workdir runs/augmented     # images that are turned, scaled and moved, and say so
python -m experiments.edm --ema-widths 0.05 0.1 --keep-every 250 --workdir runs/widths   # averages of any width:
jaxgen evaluate runs/widths --metrics frechet --sigma-rel 0.15

Against the paper (table 1, algorithm 2, table 5 and appendix F) and the authors' code (github.com/NVlabs/edm):

| | the paper, or its code | here |
| --- | --- | --- |
| preconditioning, weight, law of the noise | a deviation of the data of 0.5; log sigma normal, -1.2 and 1.2 | the same |
| noise, its spacing | from 80 to 0.002 with rho = 7 | the same |
| sampler | Heun's method, 18 steps for 32x32; churn for ImageNet alone | the same, churn of 0 by default |
| network | DDPM++ or NCSN++, with dropout of 0.13 on CIFAR-10 | the U-Net of `experiments.ddpm`, with that dropout |
| optimizer | Adam of 1e-3, batches of 512, 200 million images, a warm-up over 10 million | the rate is the same |
| loss | summed over the pixels | their mean |
| augmentation | flips, turns, shifts and scales, given to the network too | the same by `--augment`; none by default |
| state of the sampler | in double precision | in single; its coefficients are computed in double |

The paper's figure is a matter of network evaluations: Heun's method takes two a step, but for the last.
"""

import functools
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, diffusion, objectives, optimizers, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.diffusion import grids, laws
from jaxgen.flags import Count, Counts, Fraction, Late, NonNegative, Positive, Range, Share, Whole
from jaxgen.game import PowerFunction
from jaxgen.models.diffusion import UNet
from jaxgen.objectives import weights

PIXELS = (-1.0, 1.0)
LogNoise = Annotated[float, Range("a number from -10 to 10", lambda x: -10 <= x <= 10)]
Width = Annotated[float, Range("a number above 0 and up to 0.28", lambda x: 0 < x <= 0.28)]


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    flip: bool = False,
    augment: Fraction = 0.0,
    data_std: Positive = 0.5,
    log_mean: LogNoise = -1.2,
    log_std: Positive = 1.2,
    smallest: Late[Positive] = 0.002,
    largest: Late[Positive] = 80.0,
    rho: Late[Positive] = 7.0,
    sampler: Late[Literal["heun", samplers.OnChain]] = "heun",
    sampling_steps: Late[Count] = 18,
    churn: Late[NonNegative] = 0.0,
    churn_range: Late[tuple[NonNegative, NonNegative]] = (0.05, 50.0),
    churn_noise: Late[Positive] = 1.003,
    channels: Counts = (32, 64),
    blocks: Whole = 1,
    attention: tuple[Whole, ...] = (16,),
    dropout: Share = 0.13,
    steps: Whole = 2000,
    batch_size: Count = 64,
    learning_rate: Positive = 1e-3,
    warmup: Whole = 0,
    clip: Positive = 1.0,
    ema: Share = 0.995,
    ema_widths: tuple[Width, ...] = (),
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
) -> jaxgen.Experiment:
    """A denoiser of the images of any dataset at all levels of noise.

    Args:
      augment: the probability of each change of the training images (upside down, size, angle, proportions, place), which are
        mirrored then too. The network gets what was changed, and draws samples that are not. 0 changes nothing.
      data_std: the standard deviation of the pixels, which lie in [-1, 1], for which network and loss are scaled.
      log_mean: mean of the logarithm of the noise in training.
      log_std: standard deviation of the logarithm of the noise in training.
      smallest: the least noise that is sampled down to; the last step takes it off.
      largest: the noise that sampling starts from.
      rho: the power by which the steps are spaced; the larger it is, the more of them are at little noise.
      sampler: the method by which images are drawn; Heun's takes two network evaluations a step, the others one.
      sampling_steps: steps of the sampler, 2 or more.
      churn: new noise over all of Heun's steps, the paper's S_churn; 40 for ImageNet.
      churn_range: the least and the most noise at which it is added.
      churn_noise: the factor of the new noise, the paper's S_noise.
      warmup: steps over which the learning rate rises from zero along a line.
      ema_widths: relative widths of averages that are power functions of the step, in place of --ema, such as 0.05 and 0.1.
        With --keep-every the run can be sampled with any other width, by `--sigma-rel`.
    """
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    if smallest >= largest:
        raise jaxgen.UserError("Sampling runs from the --largest noise down to the --smallest; give a smaller one.")
    if flip and augment:
        raise jaxgen.UserError("--augment mirrors images too, and says so to the network; leave --flip out.")
    transform = data.scale(*PIXELS)
    changed = data.chain(transform, data.flip()) if flip else transform
    told: dict[str, objectives.Told] = {}
    inputs: list[Any] = [jnp.zeros((1, *image)), jnp.zeros(1)]
    if augment:
        changed, transform = (data.chain(transform, data.augment_edm(p)) for p in (augment, 0.0))
        # Samples are drawn without the label, which is the same as with zeros.
        told = {"augment": objectives.Told("augment")}
        inputs += [None, None, None, jnp.zeros((1, data.AUGMENT_LABELS))]

    noise = diffusion.time_is_sigma(smallest, largest)
    meaning = diffusion.edm(data_std)
    model = UNet(channels, blocks, attention, dropout=dropout, remat=remat, dtype=jnp.bfloat16 if bf16 else jnp.float32)
    loss = objectives.denoising_score_matching(
        model,
        diffusion.Drawn(diffusion.time_is_sigma(), laws.log_normal(log_mean, log_std)),
        meaning,
        weight=objectives.on_data(weights.edm(data_std), meaning),
        told=told,
    )
    rate = optimizers.learning_rate(learning_rate, steps=steps, warmup=warmup)
    players = {"model": jaxgen.Player(loss, optimizers.clipped(optax.adam(rate), clip))}

    chain = diffusion.discretised(noise, grids.karras(noise, sampling_steps, rho=rho))
    added = samplers.Churn(churn, *churn_range, churn_noise) if churn else None
    methods: samplers.Methods = {
        "heun": functools.partial(samplers.heun_in_noise, churn=added, schedule=noise),
        **samplers.ON_CHAIN,
    }
    denoise = diffusion_model.denoise_by(model, meaning)
    diffused = diffusion_model.of_sampler(denoise, methods[sampler](chain), chain.level(chain.steps), image, pixels=PIXELS)
    shown = data.examples(test, 8, transform)["image"]
    role = diffusion.Trained(noise, meaning, PIXELS)
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, changed),
        players=players,
        steps=steps,
        networks={"model": jaxgen.Network(model, *inputs, role=role)},
        splits={"train": train, "test": test},
        evaluators={
            "test": jaxgen.mean_over(test, jaxgen.loss_of(players["model"]), batch_size=batch_size, transform=transform)
        },
        pictures=diffused.pictures(
            shown,
            diffusion.subsequence(chain, range(1, chain.steps + 1, 2)),
            drawn=f"{sampling_steps} {sampler} steps",
        ),
        sample=diffused.sample,
        sampling=(
            *("churn", "churn_noise", "churn_range", "largest"),
            *("rho", "sampler", "sampling_steps", "smallest"),
        ),
        ema=tuple(map(PowerFunction, ema_widths)) or ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
