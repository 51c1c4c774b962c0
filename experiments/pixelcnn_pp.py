"""PixelCNN++ (Salimans et al. 2017): the exact likelihood of images by shifted convolutions and mixtures of logistics.

python -m experiments.pixelcnn_pp                                              # digits, nothing to download
python -m experiments.pixelcnn_pp --labels                                     # a class after the other
python -m experiments.pixelcnn_pp --dataset cifar10 --data-dir D --bits 8 --width 160 --blocks 5 --scales 3 --flip \
    --batch-size 128 --rate-decay 0.999995 --ema 0.9995 --dropout 0.5 --steps 780000
jaxgen sample runs/pixelcnn_pp --keep-rows 0.5 --given FOLDER                  # completes pictures, whose upper half is kept

Against the paper and its authors' code (github.com/openai/pixel-cnn, here "the code"):

| | the paper, or its code | here |
| --- | --- | --- |
| streams | the rows above, by 2x3 kernels; also the pixels to the left, by 2x2 kernels; outputs shifted at first | the same |
| blocks | concatenated ELU, short cuts by 1x1 convolutions, dropout, a gate; five a scale of 160 channels | one of 16 |
| scales | three, by strides of two and transposed convolutions | the same; two for digits, of 8x8 pixels |
| a pixel | 10 logistics; the colours depend on those before linearly, by a tanh | the same; 5 for digits, of 16 levels |
| classes | a vector for each block's gates | the same, whose length is learned apart |
| weights | weight normalisation that begins from the data: every layer's outputs are normal in a first batch | weight \
normalisation, begun at random; the second convolution of a block is ten times smaller, as there |
| optimizer | Adam 1e-3 times 0.999995 a step, epsilon within the root | the same decay by --rate-decay, epsilon outside of it |
| averages | decay 0.9995, from the initial parameters | debiased; 0.999 for digits |
| dropout | each value by itself | the same |
| augmentation | none | none; --flip |
| samples | a pass a pixel; not rounded to levels | a pass a pixel; levels |

On digits of 16 levels, seed 0 alone, n = 360, in bits a dimension: 1.795 +- 0.012, and 1.770 +- 0.012 with --dropout 0.1. So
small a network needs less dropout than the paper's.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, keys, objectives, samplers
from jaxgen.analysis.latent_space import reconstructions
from jaxgen.flags import Bits, Count, Late, Positive, Range, Share, Whole
from jaxgen.models import autoregressive
from jaxgen.nn import LogisticMixtureLikelihood
from jaxgen.types import Array, Batch, Key

Decay = Annotated[float, Range("a number above 0 and at most 1", lambda d: 0 < d <= 1)]


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    bits: Bits = 4,
    flip: bool = False,
    labels: bool = False,
    width: Count = 16,
    blocks: Whole = 1,
    scales: Count = 2,
    components: Count = 5,
    dropout: Share = 0.5,
    keep_rows: Late[Share] = 0.0,
    steps: Whole = 1500,
    batch_size: Count = 32,
    learning_rate: Positive = 1e-3,
    rate_decay: Decay = 0.999,
    ema: Share | None = 0.99,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A PixelCNN++ on the images of any dataset whose sides can be halved often enough.

    Args:
      bits: bits of a pixel; of bytes with fewer than 8 the lowest are dropped.
      labels: whether to condition the model on each image's class, and sample a class after the other.
      width: channels of both streams.
      blocks: residual blocks of a scale.
      scales: the number of scales; each but the last halves the sides.
      components: the number of logistics of a pixel's mixture.
      dropout: share of the values within the blocks that are dropped in training.
      keep_rows: share of a given image's rows that are kept, from above; the others are drawn. With 0 images are made from
        nothing, or from their class.
      rate_decay: the factor of the learning rate from step to step.
    """
    train, test = data.train_and_test(dataset)
    height, across, colours = data.common_shape("image", train, test)
    image = (height, across, colours)
    names = data.common_classes("label", train, test) if labels else ()
    quantise = data.quantize(bits)
    augment = data.chain(data.flip(), quantise) if flip else quantise

    head = LogisticMixtureLikelihood(components, 2**bits)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    model = autoregressive.PixelCNNPlusPlus(head, width, blocks, scales, len(names), dropout, dtype)
    rate = optax.exponential_decay(learning_rate, 1, rate_decay)
    loss = objectives.pixel_likelihood(model, condition="label" if labels else None)
    player = jaxgen.Player(loss, optax.adam(rate))

    def rows(share: float) -> Array:
        return jnp.broadcast_to(jnp.arange(height)[:, None] < round(share * height), (height, across))

    @jax.jit
    def draw(state: jaxgen.TrainState, key: Key, given: Batch, mask: Array) -> Array:
        told = (given["label"],) if labels else ()

        def law(x: Array) -> Any:
            return objectives.apply(model, state.params, state.vars, x, *told)[0]

        known = quantise(given, key)["image"] if "image" in given else None
        own, n = keys.per_example(key, given), len(given["index"])
        x = samplers.pixel_by_pixel(law, own, (n, *image), known=known, mask=None if known is None else mask)
        return (x + 1) / 2

    def sample(state: jaxgen.TrainState, key: Key, given: Batch) -> Array:
        return draw(state, key, given, rows(keep_rows))

    conditions = jaxgen.Conditions.of_classes(names) if labels else None
    completed = jaxgen.Conditions(test, features=("image", "label") if labels else ("image",))

    def samples(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        images = sample(state, key, jaxgen.given(64, completed if keep_rows else conditions))
        return jaxgen.Picture(images, 16, f"Samples, pixel by pixel; step {int(state.step):,}")

    def completions(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        given = jaxgen.given(32, completed)
        images = reconstructions(given["image"] / 255, draw(state, key, given, rows(0.5)), columns=16)
        caption = f"Test images; below each, its upper half with a lower half that was drawn; step {int(state.step):,}"
        return jaxgen.Picture(images, 16, caption)

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augment),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)), *((jnp.zeros(1, jnp.int32),) if labels else ()))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, jaxgen.loss_of(player), batch_size=batch_size, transform=quantise)},
        pictures={"samples": samples, "completions": completions},
        sample=sample,
        given=completed if keep_rows else conditions,
        ema=ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
        sampling=("keep_rows",),
        protocol={"bits_per_dim": ("bits", "labels")},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
