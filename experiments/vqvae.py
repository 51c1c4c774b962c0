"""VQ-VAE, first stage (van den Oord et al. 2017): an autoencoder whose code is a grid of whole numbers.

python -m experiments.vqvae                                            # digits, nothing to download
python -m experiments.vqvae --dataset cifar10 --data-dir D --channels 64 128 --codes 512 --features 64 --batch-size 32 \
    --learning-rate 3e-4 --steps 10000 --validation 0.2                # the notebook of the authors

The digits have 4x4 codes of 64. After 4,000 steps the squared error is 2.8 % of the variance of the pixels on 360 test images,
and all 64 codes are in use there, with a perplexity of 56.5. That took 5 minutes on 2 cores that other programs shared.

The second command has the protocol of the authors' notebook (sonnet/examples/vqvae_example.ipynb), whose figures are means over
the last 100 training batches: a squared error of 0.056 of the variance, and a perplexity of 326 in a batch of 32. They are
`normalised_mse` and `batch_perplexity` of the last training line here.

| | the notebook | here |
| --- | --- | --- |
| training images | the first 40,000 of CIFAR-10 | 40,000 that are drawn by --validation 0.2; without it all 50,000 |
| variance | 0.06327, of the training images | of the training images, exactly; 0.06329 of all 50,000 |
| pixels | from -0.5 to 0.5 | the same |
| networks | 4x4 convolutions of 64 and 128, two residual blocks of 32, 64 features | the same |
| weights | begin at a truncated normal of deviation 0.88 / sqrt(fan-in); the fan of a transposed convolution counts its \
outputs | of 1 / sqrt(fan-in), which counts inputs |
| codebook | debiased running averages, decay 0.99; begins uniformly | the same |
| optimizer | Adam, 3e-4, batches of 32, 10,000 steps | the same |

The run (seed 0) follows what the notebook printed. After 1,000, 2,000 and 2,500 steps the squared error is 0.103, 0.080 and
0.075 (there 0.105, 0.081 and 0.075); after 10,000 it is 0.0560, and the perplexity of a batch 325. On the 10,000 test images
the error is then 0.0563 +- 0.0003, and the perplexity over all of them 413, with all 512 codes in use.

The paper itself has Adam with 2e-4, batches of 128 and 250,000 steps (quoted from memory), and a codebook that is learned by
the gradient (--quantiser gradient). The evaluated `perplexity` is counted over all codes of the test images at once, and does
not compare with that of a batch.

A second stage learns the distribution of the codes of a trained run; `models.vqvae.VQVAE` says how it takes them.
"""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import codes as of_codes
from jaxgen.flags import Count, Counts, NonNegative, Positive, Share, Whole, value_of
from jaxgen.game import merging
from jaxgen.models import vqvae
from jaxgen.nn import VectorQuantiser, VectorQuantiserEMA, perplexity
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key

LOW, HIGH = PIXELS = (-0.5, 0.5)
"""Black and white as the networks see them."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    codes: Count = 64,
    features: Count = 32,
    quantiser: Literal["ema", "gradient"] | nn.Module = "ema",
    channels: Counts = (64,),
    blocks: Whole = 2,
    width: Count = 32,
    commitment: NonNegative = 0.25,
    decay: Share = 0.99,
    restart: Count | None = None,
    steps: Whole = 4000,
    batch_size: Count = 128,
    learning_rate: Positive = 1e-3,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A VQ-VAE on the images of any dataset.

    Args:
      codes: the number of codes.
      features: dimension of the codes' vectors.
      quantiser: the way the codebook is learned: ema, by running averages of the vectors that chose each code, or gradient, by
        a term of the loss. In Python also a module such as those of `nn.quantiser`, which has its own codes, features and
        commitment.
      channels: feature maps, the largest map first; each halves the side, and the last map has a code at each place.
      blocks: residual blocks of the encoder, and of the decoder.
      width: channels inside of a residual block.
      commitment: weight of the term that draws the encoder's vectors to their codes.
      decay: decay of the running averages of the quantiser ema.
      restart: the number of steps without being chosen after which a code of the quantiser ema becomes a vector of the batch;
        by default none does.
      ema: decay of the averages of parameters and codebook that are evaluated, debiased: the initial ones have no part.
      bf16: whether to compute in bfloat16; parameters, codes and reductions stay in float32.
    """
    if restart is not None and quantiser != "ema":
        raise jaxgen.UserError("--restart is of a codebook of running averages; give --quantiser ema, or leave --restart out.")
    train, test = data.train_and_test(dataset)
    height, across, colours = data.common_shape("image", train, test)
    image = (height, across, colours)
    transform = data.scale(LOW, HIGH)

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    averages = VectorQuantiserEMA(codes, features, commitment, decay, restart=restart, micro_batches=accumulate)
    kinds: dict[str, nn.Module] = {"ema": averages, "gradient": VectorQuantiser(codes, features, commitment)}
    book: Any = value_of(kinds, quantiser)
    model = vqvae.VQVAE(
        vqvae.Encoder(channels, blocks, width, dtype=dtype),
        vqvae.Decoder(image, channels[::-1], blocks, width, dtype=dtype),
        book,
        dtype=dtype,
    )
    # Images that are all alike, as those that stand in for absent ones, have no variance to divide by.
    variance = data.variance("image", train) or 1.0
    loss = objectives.vector_quantisation(model, data_variance=variance)
    rules = {"codebook": merging.same} if book is averages else {}
    player = jaxgen.Player(loss, optax.adam(learning_rate), merge=rules)

    @jax.jit
    def encode(state: jaxgen.TrainState, x: Array) -> Array:
        return objectives.apply(model, state.params, state.vars, x, method="encode")[0]

    @jax.jit
    def decode(state: jaxgen.TrainState, z: Array) -> Array:
        decoded = objectives.apply(model, state.params, state.vars, z, method="decode")[0]
        return jnp.clip(decoded - LOW, 0.0, 1.0)

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values = jaxgen.loss_of(player)(state, batch, key)
        return {name: value for name, value in values.items() if name != "batch_perplexity"}

    def chosen(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        return {"counts": of_codes.counted(encode(state, batch["image"]), book.codes)}

    counts_over = jaxgen.sum_over(test, chosen, batch_size=batch_size, transform=transform)

    def usage(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        counts = counts_over(state, key, track)["counts"]
        return {"perplexity": float(perplexity(jnp.asarray(counts))), "codes_used": float((counts > 0).sum())}

    means = jaxgen.mean_over(test, losses, batch_size=batch_size, transform=transform)
    shown = data.examples(test, 1000, transform)["image"]
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.joined(means, usage)},
        pictures=of_codes.album(encode, decode, shown, book.codes, pixels=PIXELS),
        ema=ema,
        accumulate=accumulate,
        best="test/mse",
        protocol={"mse": (), "perplexity": ()},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
