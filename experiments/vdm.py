"""Variational diffusion models (Kingma et al. 2021): a diffusion model that is trained on its bound, and learns its noise.

python -m experiments.vdm                                            # digits, nothing to download
python -m experiments.vdm --gamma scalar
python -m experiments.vdm --gamma fixed
python -m experiments.vdm --dataset mnist --data-dir D --steps 15000
jaxgen sample runs/vdm --sampling-steps 50
jaxgen evaluate runs/vdm --nll-samples 200 --nll-steps 100
python -m experiments.vdm --dataset cifar10 --data-dir D --gamma scalar --width 128 --blocks 32 --learning-rate 2e-4 \
    --gamma-rate 2e-4 --batch-size 128 --ema 0.9999 --sampling-steps 1000 --steps 10000000           # the authors' CIFAR-10

The first takes 4 minutes of processor time. Bits per dimension of the test images, and the variance of the diffusion term at a
single time drawn evenly, in squared bits (seed 0, n = 360, 32 times an image):

| `--gamma` | continuous time | 1,000 steps | gamma at the ends | variance |
| --- | --- | --- | --- | --- |
| fixed | 3.740 +- 0.022 | 3.774 +- 0.022 | -13.30, 5.00 | 9.18 +- 0.11 |
| scalar | 3.744 +- 0.021 | 3.778 +- 0.022 | -13.17, 5.00 | 9.02 +- 0.11 |
| network | 3.752 +- 0.020 | 3.779 +- 0.020 | -13.14, 4.70 | 5.242 +- 0.061 |

So the bits do not differ, and the network takes 42 % of the variance away: what the paper claims for it. The ends have hardly
moved in so few steps. About half of the samples can be read as digits.

Against the paper and the authors' code (github.com/google-research/vdm):

| | the paper, or its code | here |
| --- | --- | --- |
| gamma | from -13.3 to 5; fixed, a line with learned ends, or a monotone network of 1,024 units | the same |
| interior | descends the square of the diffusion loss (paper); the code has the bound alone | the square, in one pass |
| ends of the network | b and w of its first layer move ends and interior (code); parameters of their own (paper) | their own |
| network | one size, 32 blocks of 128 channels, waves of 2^6 and 2^7, output + z | the same, 2 blocks of 32 channels |
| its inputs | the time in [0, 1] by gamma, and a flag that is zero without augmentation | the time |
| loss | bits a dimension; times evenly over the batch of each device | the same; evenly over the global batch |
| optimizer | AdamW of 2e-4, beta2 0.99, decay 0.01 of all but biases, warm-up over 100 steps | the same, of 2e-3; gamma by \
Adam at a rate of its own and without decay; gradients are bounded, which the code leaves to a setting |
| data | 256 levels at the middles of equal parts of [-1, 1] | the same |
| sampling | ancestral in T steps, 1,000 of a continuous model; the most probable levels of z_0 | the same, 250 |
| bits | one time for each image, evenly over a batch | `--nll-samples` times for each, in continuous time and in 1,000 steps |
| augmentation | flips and rotations, which the network gets as labels | flips by `--flip` |
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, diffusion, keys, objectives, optimizers, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.diffusion import grids
from jaxgen.flags import Count, Late, NonNegative, Positive, Range, Share, Whole, value_of
from jaxgen.models.diffusion import FixedGamma, LinearGamma, MonotoneGamma, presets
from jaxgen.models.diffusion.gamma import HIGH, LOW
from jaxgen.types import Array, Batch, Key, PyTree

PIXELS = (-255 / 256, 255 / 256)
"""The middles of 256 equal parts of [-1, 1]."""
LogRatio = Annotated[float, Range("a number from -40 to 40", lambda x: -40 <= x <= 40)]
GAMMAS: dict[str, Callable[[float, float], nn.Module]] = {
    "fixed": FixedGamma,
    "scalar": LinearGamma,
    "network": MonotoneGamma,
}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    flip: bool = False,
    gamma: Literal["fixed", "scalar", "network"] | Callable[[float, float], nn.Module] = "network",
    gamma_ends: tuple[LogRatio, LogRatio] = (LOW, HIGH),
    bound_steps: Count | None = None,
    sampling_steps: Late[Count] = 250,
    width: Count = 32,
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
    nll_steps: Late[Count] = 1000,
) -> jaxgen.Experiment:
    """A variational diffusion model of the images of any dataset.

    Args:
      gamma: the noise over time, minus the log of the signal-to-noise ratio: a fixed line, a line with learned ends, or a
        monotone network, whose interior makes the loss vary less.
      gamma_ends: gamma at times 0 and 1, to begin with where it is learned.
      bound_steps: steps T of the bound that is trained, all of gamma descending it; None is continuous time.
      sampling_steps: steps of the sampler.
      width: channels of all maps.
      blocks: residual blocks on the way down; on the way up there is one more.
      attend: whether the maps attend to themselves after each block, and not only in the middle.
      learning_rate: AdamW's learning rate.
      gamma_rate: the learning rate of gamma.
      weight_decay: the decay of the network's parameters that are not biases.
      warmup: steps over which both learning rates rise from zero along a line.
      clip: bound on the norm of the network's gradient, and on that of gamma's.
      nll_samples: times at which the final bounds of each test image are estimated.
      nll_steps: steps T of the final bound that is not in continuous time.
    """
    low, high = gamma_ends
    if low >= high:
        raise jaxgen.UserError(f"--gamma-ends {low:g} {high:g} do not ascend; give the end of little noise first.")
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    transform = data.scale(*PIXELS)
    augment = data.chain(transform, data.flip()) if flip else transform

    schedule = value_of(GAMMAS, gamma)(low, high)
    meaning = diffusion.timed(diffusion.EPSILON, diffusion.time_by_gamma(low, high))
    model = presets.vdm(
        width,
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

    def decayed(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key != "bias", params)

    rates = [optimizers.learning_rate(peak, steps=steps, warmup=warmup) for peak in (learning_rate, gamma_rate)]
    adamw = optax.adamw(rates[0], b2=0.99, weight_decay=weight_decay, mask=decayed)
    tx = optax.partition(
        {
            "model": optimizers.clipped(adamw, clip),
            "schedule": optimizers.clipped(optax.adam(rates[1], b2=0.99), clip),
        },
        lambda params: {name: "schedule" if name == "schedule" else "model" for name in params},
    )
    loss = objectives.vdm(model, schedule, meaning, steps=bound_steps)
    players = {"model": jaxgen.Player(loss, tx, owns=tuple(networks))}

    denoise = diffusion_model.denoise_by(model, meaning)

    def sampler(state: jaxgen.TrainState) -> samplers.Sampler:
        own = objectives.gamma_of(schedule, state.params, state.vars)
        return samplers.along_gamma(own(jnp.linspace(0.0, 1.0, sampling_steps + 1)), objectives.nearest_level)

    start = diffusion.Level(*map(jnp.float32, (1.0, 0.0, 1.0)))  # N(0, I), the prior of the bound
    diffused = diffusion_model.of_learned_sampler(denoise, sampler, start, image, pixels=PIXELS)

    def bound(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        own, x0 = keys.per_example(key, batch), batch["image"]
        of = denoise(state, batch), objectives.gamma_of(schedule, state.params, state.vars)
        found = objectives.vdm_bits(*of, x0, own, samples=nll_samples)
        chain = objectives.vdm_bits(*of, x0, own, samples=nll_samples, steps=nll_steps)
        return {**found, "bits_per_dim_in_steps": chain["bits_per_dim"]}

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
            "bits_per_dim_in_steps": ("nll_samples", "nll_steps"),
        },
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
