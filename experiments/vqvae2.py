"""VQ-VAE-2, first stage (Razavi et al. 2019): an autoencoder whose code is a coarse grid of whole numbers above a fine one.

python -m experiments.vqvae2                                           # digits, nothing to download
python -m experiments.vqvae2 --dataset FOLDER --channels 64 128 --codes 512 --features 64 --learning-rate 3e-4

The digits have 2x2 top codes above 4x4 bottom codes, 32 of each. After 1,500 steps (seed 0, 2.4 minutes of processor time)
the squared error on the 360 test images is 3.73 +- 0.07 % of the variance of the pixels. All 32 codes of both levels are in use
there, with perplexities of 27.2 (top) and 28.1 (bottom). The bottom says nearly all of so small an image: with the mean of its
vectors in their place, the top codes show little more than how wide a digit is.

The second command has the networks of rosinality/vq-vae-2-pytorch for images of 256x256, with 32x32 codes above 64x64. Against
that code:

| | there | here |
| --- | --- | --- |
| networks | top quantised first; the bottom sees the decoded top | the same, for images of any sides |
| loss | squared error + 0.25 times the commitment of both levels | the squared error is divided by the variance of the pixels |
| pixels | from -1 to 1 | from -0.5 to 0.5, as in `experiments.vqvae` |
| codebooks | running averages, decay 0.99, not debiased; begin at N(0, 1) | debiased; begin uniformly; --quantiser gradient |
| optimizer | Adam 3e-4, batches of 128, 560 epochs | Adam 1e-3, batches of 128 |

A second stage learns the distribution of both grids of codes (`experiments.hierarchical_code_prior`).
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis import codes as of_codes
from jaxgen.flags import Count, Counts, NonNegative, Positive, Share, Whole
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
    codes: Count = 32,
    features: Count = 16,
    quantiser: Literal["ema", "gradient"] = "ema",
    channels: Counts = (32,),
    blocks: Whole = 2,
    width: Count = 32,
    commitment: NonNegative = 0.25,
    decay: Share = 0.99,
    restart: Count | None = None,
    steps: Whole = 1500,
    batch_size: Count = 128,
    learning_rate: Positive = 1e-3,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A VQ-VAE-2 with two levels of codes on the images of any dataset.

    Args:
      codes: the number of codes of each level.
      features: dimension of the codes' vectors.
      quantiser: the way the codebooks are learned: ema, by running averages of the vectors that chose each code, or gradient,
        by a term of the loss.
      channels: feature maps of the encoder of images, the largest map first; each halves the side, and the last map has a code
        of the bottom level at each place. The top level has half its sides.
      blocks: residual blocks of each encoder, and of each decoder.
      width: channels inside of a residual block.
      commitment: weight of the terms that draw the encoders' vectors to their codes.
      decay: decay of the running averages of the quantisers ema.
      restart: the number of steps without being chosen after which a code of the quantisers ema becomes a vector of the batch;
        by default none does.
      ema: decay of the averages of parameters and codebooks that are evaluated, debiased: the initial ones have no part.
      bf16: whether to compute in bfloat16; parameters, codes and reductions stay in float32.
    """
    if restart is not None and quantiser != "ema":
        raise jaxgen.UserError("--restart is of codebooks of running averages; give --quantiser ema, or leave --restart out.")
    train, test = data.train_and_test(dataset)
    height, across, colours = data.common_shape("image", train, test)
    image = (height, across, colours)
    transform = data.scale(LOW, HIGH)

    def book() -> Any:
        if quantiser == "gradient":
            return VectorQuantiser(codes, features, commitment)
        return VectorQuantiserEMA(codes, features, commitment, decay, restart=restart, micro_batches=accumulate)

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    model = vqvae.TwoLevelVQVAE.of(image, book(), book(), channels=channels, blocks=blocks, width=width, dtype=dtype)
    # Images that are all alike, as those that stand in for absent ones, have no variance to divide by.
    variance = data.variance("image", train) or 1.0
    loss = objectives.vector_quantisation(model, data_variance=variance)
    rules = {"codebook": merging.same} if quantiser == "ema" else {}
    player = jaxgen.Player(loss, optax.adam(learning_rate), merge=rules)

    def applied(state: jaxgen.TrainState, *inputs: Array, method: str) -> Any:
        return objectives.apply(model, state.params, state.vars, *inputs, method=method)[0]

    @jax.jit
    def encode(state: jaxgen.TrainState, x: Array) -> vqvae.Codes:
        return applied(state, x, method="encode")

    @jax.jit
    def decode(state: jaxgen.TrainState, top: Array, bottom: Array) -> Array:
        return jnp.clip(applied(state, top, bottom, method="decode") - LOW, 0.0, 1.0)

    @jax.jit
    def coarse(state: jaxgen.TrainState, top: Array, bottom: Array) -> Array:
        """The images of top codes, where every vector of the bottom level is the mean of those of `bottom`."""
        above, below = applied(state, top, bottom, method="lookup")
        mean = jnp.broadcast_to(below.mean((0, 1, 2)), (len(top), *below.shape[1:]))
        return jnp.clip(applied(state, above, mean, method="decode_vectors") - LOW, 0.0, 1.0)

    def losses(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values = jaxgen.loss_of(player)(state, batch, key)
        return {name: value for name, value in values.items() if not name.endswith("batch_perplexity")}

    def chosen(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        return {level: of_codes.counted(grid, codes) for level, grid in encode(state, batch["image"])._asdict().items()}

    counts_over = jaxgen.sum_over(test, chosen, batch_size=batch_size, transform=transform)

    def usage(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for level, counts in counts_over(state, key, track).items():
            found[f"{level}_perplexity"] = float(perplexity(jnp.asarray(counts)))
            found[f"{level}_codes_used"] = float((counts > 0).sum())
        return found

    means = jaxgen.mean_over(test, losses, batch_size=batch_size, transform=transform)
    shown = data.examples(test, 1000, transform)["image"]
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.joined(means, usage)},
        pictures=of_codes.album_of_two_levels(encode, decode, coarse, shown, codes, pixels=PIXELS),
        ema=ema,
        accumulate=accumulate,
        best="test/mse",
        protocol={"mse": (), "top_perplexity": (), "bottom_perplexity": ()},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
