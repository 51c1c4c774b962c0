"""RealNVP (Dinh, Sohl-Dickstein & Bengio 2017): an exact likelihood by invertible couplings of checkerboards and channels.

python -m experiments.realnvp                                        # digits, nothing to download
python -m experiments.realnvp --dataset mnist --data-dir D --bits 8 --steps 50000
python -m experiments.realnvp --dataset cifar10 --data-dir D --bits 8 --width 64 --blocks 8 --flip --steps 100000

Against the paper and its authors' code (tensorflow/models, research/real_nvp, here "the code"):

| | the paper, or its code | here |
| --- | --- | --- |
| pixels | bytes with uniform noise, then logits with alpha 0.05 | the same; digits have 17 levels, so 4 bits by default |
| scales | checkerboards, squeeze, channels; half of the numbers leave, one colour of a checkerboard | the same |
| networks | residual blocks with weight norm, all of whose outputs are summed; the code gives lengths to the output, the ways \
to it and the last convolution of a block alone | the same; every convolution has lengths, as in chrischute/real-nvp |
| s | one learned factor times tanh | a factor for each channel, as in chrischute/real-nvp |
| couplings | the code normalises what they change by batch statistics, whose scale is in the determinant | without it, as in \
chrischute/real-nvp |
| size | 32 channels, 2 blocks, 4 scales in the code; 64 channels, 8 blocks, 2 scales for CIFAR-10 (quoted from memory) | 16 \
channels, 1 block, 2 scales for digits |
| optimizer | Adam 1e-3, batches of 64, gradients of a norm up to 100 | the same |
| L2 | 5e-5 of lengths and factors | the same, added to their gradients before they are clipped |
| likelihood | of one draw of the noise for each image | `bits_per_dim`; also of several draws, `tighter_bits_per_dim` |

Points of a plane, and dense couplings, are not among the flags: `jaxgen.models.flows.ChannelCoupling` takes any network.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives, optimizers
from jaxgen.analysis import latent_model
from jaxgen.flags import Bits, Count, Late, NonNegative, Positive, Range, Share, Whole
from jaxgen.models import flows
from jaxgen.types import PyTree

Alpha = Annotated[float, Range("a number above 0 and below 0.5", lambda a: 0 < a < 0.5)]


def lengths_and_factors(params: PyTree) -> PyTree:
    """The parameters that have an L2 penalty: the lengths of weight norm, and the factors of s."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "scale", params)


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    bits: Bits = 4,
    alpha: Alpha = 0.05,
    flip: bool = False,
    scales: Count = 2,
    width: Count = 16,
    blocks: Whole = 1,
    steps: Whole = 1500,
    batch_size: Count = 64,
    learning_rate: Positive = 1e-3,
    clip: Positive | None = 100.0,
    l2: NonNegative = 5e-5,
    ema: Share | None = None,
    accumulate: Count = 1,
    temperature: Late[Positive] = 1.0,
    noise_samples: Late[Count] = 8,
) -> jaxgen.Experiment:
    """RealNVP on the images of any dataset whose sides can be halved often enough.

    Args:
      bits: bits of a pixel; of bytes with fewer than 8 the lowest are dropped.
      alpha: the distance that logits keep from those of black and of white.
      scales: the number of scales; each but the last halves the sides and doubles the width.
      width: channels of the couplings' networks, of the first scale.
      blocks: residual blocks of each network.
      l2: weight of the L2 penalty on the lengths of weight norm and on the factors of s.
      temperature: the factor of z that images are sampled with.
      noise_samples: the number of draws of the noise for each test image in the final, tighter bound.
    """
    train, test = data.train_and_test(dataset)
    height, across, colours = data.common_shape("image", train, test)
    image = (height, across, colours)
    dequantise = data.dequantize(bits)
    augment = data.chain(data.flip(), dequantise) if flip else dequantise

    model = flows.realnvp(scales=scales, width=width, blocks=blocks, alpha=alpha)
    penalty = optax.add_decayed_weights(l2, mask=lengths_and_factors)
    tx = optax.chain(penalty, optimizers.clipped(optax.adam(learning_rate), clip))
    player = jaxgen.Player(objectives.flow_likelihood(model, bits=bits), tx)
    space = latent_model.of_flow(model, image, temperature=temperature)

    tighter = objectives.tighter_bits_per_dim(model, samples=noise_samples, bits=bits)
    losses = jaxgen.loss_of(player)
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.full((1, *image), 0.5))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, losses, batch_size=batch_size, transform=dequantise)},
        final={"test": jaxgen.mean_over(test, tighter, batch_size=batch_size, samples=noise_samples)},
        pictures=latent_model.temperature_album(space, data.examples(test, 16, dequantise)["image"]),
        sample=space.sample,
        ema=ema,
        accumulate=accumulate,
        sampling=("temperature",),
        protocol={"bits_per_dim": ("bits",), "tighter_bits_per_dim": ("bits", "noise_samples")},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
