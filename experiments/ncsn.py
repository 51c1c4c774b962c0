"""Noise-conditional score network (Song & Ermon 2019), sampled by annealed Langevin dynamics.

python -m experiments.ncsn                                           # digits, nothing to download
python -m experiments.ncsn --dataset mnist --data-dir D --channels 32 64 64 --steps 20000 --largest 10
python -m experiments.ncsn --dataset cifar10 --data-dir D --channels 128 256 256 256 --blocks 2 --flip --largest 20 \
    --batch-size 128 --ema 0.999 --steps 200000

The first takes about 4 minutes of processor time and gives digits that a person reads, at an error of the noise of 0.254 on the
test images (seed 0).

What is otherwise than in the paper and its code:
- The network is the U-Net of `experiments.ddpm` and not a RefineNet; by default it has the paper's conditional instance
  normalisation. Its output is divided by sigma (technique 3 of Song & Ermon 2020), and its condition is log sigma and
  not the number of the level.
- The most noise is 3 by default and not 1 (technique 1 of Song & Ermon 2020); `--largest 1` is the paper's.
- As in the paper's code Adam has a rate of 1e-3; there it takes 200,000 steps of 128 images, without clipping and averages.
- The loss is the mean over the pixels of the error of the noise; theirs is half the sum.
- Pixels are k / 255; their code also dequantises them, by noise of less than one grey level.
- Sampling starts from N(0, sigma^2) of the most noise; theirs starts from uniform noise in [0, 1].
- The Langevin step is that of algorithm 1 with epsilon 2e-5. Their code takes twice this step: `--step-size 4e-5`.
- The last step takes the least noise off (Jolicoeur-Martineau et al. 2020); theirs leaves it.
"""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, diffusion, objectives, optimizers, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.flags import Count, Counts, Late, Positive, Share, Whole, value_of
from jaxgen.models.diffusion import UNet
from jaxgen.nn import AdaptiveGroupNorm, AdditiveGroupNorm, ConditionalInstanceNorm, RandomFourier

PIXELS = (0.0, 1.0)
NORMS: dict[str, Callable[..., nn.Module]] = {
    "instance": ConditionalInstanceNorm,
    "additive": AdditiveGroupNorm,
    "adaptive": AdaptiveGroupNorm,
}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    flip: bool = False,
    levels: Count = 10,
    largest: Positive = 3.0,
    smallest: Positive = 0.01,
    langevin_steps: Late[Count] = 100,
    step_size: Late[Positive] = 2e-5,
    channels: Counts = (32, 64),
    blocks: Whole = 1,
    attention: tuple[Whole, ...] = (16,),
    dropout: Share = 0.0,
    modulation: Literal["instance", "additive", "adaptive"] | Callable[..., nn.Module] = "instance",
    steps: Whole = 1500,
    batch_size: Count = 64,
    learning_rate: Positive = 1e-3,
    clip: Positive = 1.0,
    ema: Share = 0.995,
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
) -> jaxgen.Experiment:
    """Scores of the images of any dataset at several levels of noise.

    Args:
      levels: the number of levels of noise, in geometric progression.
      largest: standard deviation of the most noise; pixels lie in [0, 1]. The paper has 1, its successor about the largest
        distance between two images.
      smallest: the standard deviation of the least noise.
      langevin_steps: the number of steps of the dynamics at each level.
      step_size: the step size of the dynamics at the least noise; it grows with the variance of the noise.
      modulation: the condition of a block on the level: by conditional instance normalisation, or one of the U-Net's own.
    """
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    if not 0 < smallest < largest or levels < 2:
        raise jaxgen.UserError("Noise has two levels or more and runs from --smallest above 0 up to a larger --largest.")
    transform = data.scale(*PIXELS)
    augment = data.chain(transform, data.flip()) if flip else transform

    noise = diffusion.geometric(levels, smallest=smallest, largest=largest)
    model = UNet(
        channels,
        blocks,
        attention,
        dropout=dropout,
        norm=value_of(NORMS, modulation),
        time=RandomFourier(2 * channels[0], scale=1.0),
        remat=remat,
        dtype=jnp.bfloat16 if bf16 else jnp.float32,
    )
    # The score is minus the noise over sigma: with the weight sigma^2 its error is that of the noise.
    loss = objectives.denoising_score_matching(model, noise, diffusion.EPSILON)
    players = {"model": jaxgen.Player(loss, optimizers.clipped(optax.adam(learning_rate), clip))}
    draw = samplers.annealed_langevin(noise, steps=langevin_steps, step_size=step_size)
    denoise = diffusion_model.denoise_by(model)
    diffused = diffusion_model.of_sampler(denoise, draw, noise.level(noise.steps), image, pixels=PIXELS)
    shown = data.examples(test, 8, transform)["image"]
    role = diffusion.Trained(noise, diffusion.EPSILON, PIXELS)
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players=players,
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)), jnp.zeros(1), role=role)},
        splits={"train": train, "test": test},
        evaluators={
            "test": jaxgen.mean_over(test, jaxgen.loss_of(players["model"]), batch_size=batch_size, transform=transform)
        },
        pictures=diffused.pictures(shown, noise, drawn=f"{levels} levels of {langevin_steps} Langevin steps"),
        sample=diffused.sample,
        sampling=("langevin_steps", "step_size"),
        ema=ema,
        accumulate=accumulate,
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
