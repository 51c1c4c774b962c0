"""LeNet (LeCun et al. 1998), a small convolutional classifier; its features are what sets of small images are compared in.

python -m experiments.lenet                                # digits, nothing to download: 5.8 % of 360 wrong
python -m experiments.lenet --shift 1 --cosine             # 3.9 %
python -m experiments.lenet --dataset mnist --data-dir D --cosine --steps 2000       # 0.85 % of 10,000 wrong
python -m experiments.lenet --dataset cifar10 --data-dir D --channels 64 128 --shift 4 --flip --cosine --steps 10000

The first two took 40 seconds on 2 cores that other programs shared, the third five minutes of processor time.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, objectives, optimizers
from jaxgen.analysis import confusion
from jaxgen.flags import Count, Counts, Positive, Share, Whole, value_of
from jaxgen.models.cnn import LeNet
from jaxgen.types import Array, Key

LOOKED_AT = 10_000
"""Test images, at most, among which the picture's are found."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    channels: Counts = (32, 64),
    hidden: Counts = (128,),
    dropout: Share = 0.5,
    smoothing: Share = 0.0,
    shift: Whole = 0,
    flip: bool = False,
    optimizer: Literal["adam", "sgd"] | optax.GradientTransformation = "adam",
    steps: Whole = 1000,
    batch_size: Count = 128,
    learning_rate: Positive | None = None,
    cosine: bool = False,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A classifier of the labelled images of any dataset.

    Args:
      channels: feature maps of the 5x5 convolutions, the largest map first; each halves the side.
      hidden: widths of the dense layers; the last one's activations are the features.
      dropout: share of the features that are dropped in training.
      smoothing: share of the target that is spread over all classes.
      shift: pixels by which training images are moved at random, at most, along either axis.
      flip: whether to show training images as in a mirror half of the time.
      optimizer: Adam, or stochastic gradient descent with momentum 0.9.
      learning_rate: the learning rate; by default 1e-3 with Adam, 0.05 with SGD.
    """
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    classes = len(data.common_classes("label", train, test))
    if shift and image[0] != image[1]:
        raise jaxgen.UserError(
            f"--shift {shift} wants square images, and those of {test.name} are {image[0]}x{image[1]}; leave it out."
        )
    moved = data.chain(data.pad(shift), data.crop(image[0])) if shift else data.identity
    augmented = data.chain(data.scale(), moved, data.flip() if flip else data.identity)

    model = LeNet(classes, channels, hidden, dropout, dtype=jnp.bfloat16 if bf16 else jnp.float32)
    peak = learning_rate or (0.05 if optimizer == "sgd" else 1e-3)
    rate = optimizers.learning_rate(peak, steps=steps, cosine=cosine)
    tx = value_of({"adam": optax.adam(rate), "sgd": optax.sgd(rate, momentum=0.9)}, optimizer)
    player = jaxgen.Player(objectives.classification(model, smoothing=smoothing), tx)

    @jax.jit
    def logits(state: jaxgen.TrainState, images: Array) -> Array:
        return objectives.apply(model, state.params, state.vars, images.astype(jnp.float32) / 255)[0]

    def confusions(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        parts = [test.gather(np.arange(i, min(i + 1000, test.length))) for i in range(0, min(test.length, LOOKED_AT), 1000)]
        p = np.concatenate([np.asarray(jax.nn.softmax(logits(state, part["image"]))) for part in parts])
        images, label = (np.concatenate([part[feature] for part in parts]) for feature in ("image", "label"))
        shown = min(classes, 20)
        cells = confusion.confusions(images.astype(np.float32) / 255, label, p, classes=shown)
        wrong = int((p.argmax(1) != label).sum())
        caption = (
            f"Held-out images, {wrong:,} of {len(label):,} taken for another class. Row: the class; column: what it is taken "
            f"for. Off the diagonal the surest mistake, on it the right answer that was least sure; step {int(state.step):,}"
        )
        return jaxgen.Picture(cells, shown, caption)

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, augmented),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)))},
        splits={"train": train, "test": test},
        evaluators={"test": jaxgen.mean_over(test, jaxgen.loss_of(player), batch_size=500, transform=data.scale())},
        pictures={"confusions": confusions},
        ema=ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
        protocol={"error": ()},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
