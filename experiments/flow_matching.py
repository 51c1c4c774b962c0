"""Flow matching along straight paths (Lipman et al. 2023), or rectified flow before reflow (Liu et al. 2023).

python -m experiments.flow_matching                                  # digits, nothing to download
python -m experiments.flow_matching --dataset mnist --data-dir D --channels 16 32 32 --steps 15000
jaxgen sample runs/flow_matching --sampler heun --sampling-steps 10
jaxgen evaluate runs/flow_matching --metrics frechet --sampler unipc --sampling-steps 5 10 20

The path is x_t = (1 - t) x_0 + t eps, with the data at t = 0 as in this package's diffusion models; both papers have them at
t = 1. The network predicts the velocity eps - x_0, and each image is the end of an ODE that begins at noise.

Against the papers, and the code of Tong et al. (github.com/atong01/conditional-flow-matching, examples/images/cifar10):

| | the papers, or this code | here |
| --- | --- | --- |
| target and loss | the velocity, its squared error | the same |
| times in training | uniform | the same; `--law logit_normal` is that of Esser et al. 2024 |
| least noise | none, or 1e-4 to 1e-5 at the data | none |
| network | ADM's U-Net, 128 channels, 4 heads | the U-Net of `experiments.ddpm`, which gets 1000 t |
| optimizer | Adam of 2e-4 constant, a warm-up over 5,000 steps, clipping at 1, average of 0.9999 | Adam of 1e-3 |
| sampling | dopri5 or Euler with 100 steps | Euler with 50 steps; Heun and the solvers of diffusion models |
"""

from typing import Literal

import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, diffusion, objectives, optimizers, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.diffusion import grids, laws
from jaxgen.flags import Count, Counts, Late, Positive, Share, Whole, value_of
from jaxgen.models.diffusion import UNet
from jaxgen.nn import Sinusoidal

PIXELS = (-1.0, 1.0)
PATH = diffusion.linear_path()
LAWS: dict[str, diffusion.NoiseSchedule] = {
    "uniform": PATH,
    "logit_normal": diffusion.Drawn(PATH, laws.logit_normal()),
}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    flip: bool = False,
    law: Literal["uniform", "logit_normal"] | diffusion.Continuous | diffusion.Drawn = "uniform",
    sampler: Late[Literal["euler", "heun", samplers.OnChain]] = "euler",
    sampling_steps: Late[Count] = 50,
    shift: Late[Positive] = 1.0,
    channels: Counts = (32, 64),
    blocks: Whole = 1,
    attention: tuple[Whole, ...] = (16,),
    dropout: Share = 0.1,
    steps: Whole = 2000,
    batch_size: Count = 64,
    learning_rate: Positive = 1e-3,
    warmup: Whole = 0,
    clip: Positive = 1.0,
    ema: Share = 0.995,
    accumulate: Count = 1,
    bf16: bool = False,
    remat: bool = False,
) -> jaxgen.Experiment:
    """A flow from noise to the images of any dataset.

    Args:
      law: the law of the times in training, even or with more of them in the middle of the path.
      sampler: the method by which images are drawn: Euler's or Heun's in t, or one of diffusion models. Heun's takes two
        network evaluations a step, the others one.
      sampling_steps: steps of the sampler.
      shift: the factor by which sampling looks more at much noise (Esser et al. 2024, equation 23); 1 spaces times evenly.
      warmup: steps over which the learning rate rises from zero along a line.
    """
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    transform = data.scale(*PIXELS)
    augment = data.chain(transform, data.flip()) if flip else transform

    model = UNet(
        channels,
        blocks,
        attention,
        dropout=dropout,
        time=Sinusoidal(channels[0], scale=1000.0),
        remat=remat,
        dtype=jnp.bfloat16 if bf16 else jnp.float32,
    )
    loss = objectives.denoising_score_matching(model, value_of(LAWS, law), diffusion.VELOCITY)
    rate = optimizers.learning_rate(learning_rate, steps=steps, warmup=warmup)
    players = {"model": jaxgen.Player(loss, optimizers.clipped(optax.adam(rate), clip))}

    times = grids.shifted(grids.even(PATH, sampling_steps + 1), shift)
    chain = diffusion.discretised(PATH, times)
    methods: samplers.Methods = {
        "euler": lambda chain: samplers.euler(PATH, times),
        "heun": lambda chain: samplers.heun(PATH, times),
        **samplers.ON_CHAIN,
    }
    denoise = diffusion_model.denoise_by(model, diffusion.VELOCITY)
    diffused = diffusion_model.of_sampler(denoise, methods[sampler](chain), chain.level(chain.steps), image, pixels=PIXELS)
    shown = data.examples(test, 8, transform)["image"]
    role = diffusion.Trained(PATH, diffusion.VELOCITY, PIXELS)
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players=players,
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)), jnp.zeros(1), role=role)},
        splits={"train": train, "test": test},
        evaluators={
            "test": jaxgen.mean_over(test, jaxgen.loss_of(players["model"]), batch_size=batch_size, transform=transform)
        },
        pictures=diffused.pictures(
            shown, diffusion.discretised(PATH, grids.even(PATH, 16)), drawn=f"{sampling_steps} {sampler} steps"
        ),
        sample=diffused.sample,
        sampling=("sampler", "sampling_steps", "shift"),
        ema=ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
