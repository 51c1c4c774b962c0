"""Glow (Kingma & Dhariwal 2018): a flow of steps of ActNorm, an invertible 1x1 convolution and an affine coupling.

python -m experiments.glow                                           # digits, nothing to download
python -m experiments.glow --dataset mnist --data-dir D --bits 8 --depth 16 --width 128 --steps 50000
python -m experiments.glow --dataset cifar10 --data-dir D --bits 8 --levels 3 --depth 32 --width 512 --steps 300000

Against the paper and its authors' code (openai/glow, here "the code"):

| | the paper, or its code | here |
| --- | --- | --- |
| pixels | the n highest bits with uniform noise, less 1/2 | the same without the 1/2, since the first ActNorm subtracts the \
mean. Digits have 17 levels, so 4 bits by default |
| ActNorm | (x + b) exp(3 s), which normalises a first batch of 256 | the same; the batch is the first 256 training images |
| 1x1 convolution | a full matrix by default in the code, or P L (U + diag s), signs of s fixed | the second, s > 0: \
the same up to fixed signs of the outputs |
| coupling | additive by default in the code, affine in the command for CIFAR-10: (x + t) sigmoid(h + 2) | affine; --additive |
| network | 3x3, 1x1, 3x3 convolutions of 512, ActNorm, edges marked by a channel, the last one zero at first | the same; 64 \
for digits |
| latents | normal with learned mean and deviation on the last level, and given what stays on the others | the same, as \
layers that make them standard normal |
| optimizer | Adamax 1e-3 after 10 epochs of warm-up, beta2 of 1 - 1 / (steps an epoch) | the same |
| what is evaluated | an average of the parameters with the decay beta2, debiased | the same by default |
| batch | 64 on each of 8 devices | 64 |
| memory | every step is computed again in the backward pass | not computed again |
| augmentation | shifts by up to a tenth for CIFAR-10; shifts and a border for MNIST | none |
| MNIST | padded to 32x32, three channels, 3 levels | 28x28, one channel, 2 levels |

--mixing shuffle and --mixing reverse have fixed permutations in place of the convolution, as in the paper's figure 3.
"""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import optax

import jaxgen
from jaxgen import data, objectives, optimizers
from jaxgen.analysis import latent_model
from jaxgen.flags import Bits, Count, Late, NonNegative, Positive, Share, Whole, value_of
from jaxgen.models import flows

FIRST_BATCH = 256
"""Images from which the parameters are made."""

MIXING: dict[str, Callable[[], nn.Module]] = {
    "convolution": flows.InvertibleConv,
    "shuffle": flows.Shuffle,
    "reverse": flows.Reverse,
}


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    bits: Bits = 4,
    flip: bool = False,
    levels: Count = 2,
    depth: Count = 4,
    width: Count = 64,
    mixing: Literal["convolution", "shuffle", "reverse"] | Callable[[], nn.Module] = "convolution",
    additive: bool = False,
    steps: Whole = 2000,
    batch_size: Count = 64,
    learning_rate: Positive = 1e-3,
    warmup_epochs: NonNegative = 10.0,
    clip: Positive | None = None,
    ema: Share | None = None,
    accumulate: Count = 1,
    temperature: Late[Positive] = 0.7,
    noise_samples: Late[Count] = 8,
) -> jaxgen.Experiment:
    """Glow on the images of any dataset whose sides can be halved often enough.

    Args:
      bits: bits of a pixel; of bytes with fewer than 8 the lowest are dropped.
      levels: the number of levels L; each halves the sides.
      depth: the number of steps K of a level.
      width: channels of the couplings' networks.
      mixing: the map of the channels before a coupling: a learned 1x1 convolution, a fixed shuffle, or their opposite order. In
        Python also a function that makes a flow.
      additive: whether couplings shift without scaling.
      learning_rate: Adamax's learning rate.
      warmup_epochs: passes over the training images in which the rate rises from zero along a line.
      ema: decay of the parameter averages that are evaluated and sampled from, debiased; by default 1 - 1 / (steps an epoch).
      temperature: the factor of z that images are sampled with.
      noise_samples: the number of draws of the noise for each test image in the final, tighter bound.
    """
    train, test = data.train_and_test(dataset)
    height, across, colours = data.common_shape("image", train, test)
    image = (height, across, colours)
    dequantise = data.dequantize(bits)
    augment = data.chain(data.flip(), dequantise) if flip else dequantise

    model = flows.glow(levels=levels, depth=depth, width=width, additive=additive, mixing=value_of(MIXING, mixing))
    epoch = max(train.length / batch_size, 2.0)
    rate = optimizers.learning_rate(learning_rate, steps=steps, warmup=round(warmup_epochs * epoch))
    decay = 1 - 1 / epoch
    tx = optimizers.clipped(optax.adamax(rate, b2=decay), clip)
    player = jaxgen.Player(objectives.flow_likelihood(model, bits=bits), tx)
    space = latent_model.of_flow(model, image, temperature=temperature)

    tighter = objectives.tighter_bits_per_dim(model, samples=noise_samples, bits=bits)
    losses = jaxgen.loss_of(player)
    first = data.examples(train, FIRST_BATCH, dequantise)["image"]
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, first)},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, losses, batch_size=batch_size, transform=dequantise)},
        final={"test": jaxgen.mean_over(test, tighter, batch_size=batch_size, samples=noise_samples)},
        pictures=latent_model.temperature_album(space, data.examples(test, 16, dequantise)["image"]),
        sample=space.sample,
        ema=decay if ema is None else ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
        sampling=("temperature",),
        protocol={"bits_per_dim": ("bits",), "tighter_bits_per_dim": ("bits", "noise_samples")},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
