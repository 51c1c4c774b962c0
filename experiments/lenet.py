"""LeNet (LeCun et al. 1998), a small convolutional classifier; its features are what sets of small images are compared in.

python -m experiments.lenet                                # digits, nothing to download: 5.8 % of 360 wrong
python -m experiments.lenet --shift 1 --cosine             # 3.9 %
python -m experiments.lenet --dataset mnist --data-dir D --cosine --steps 2000       # 0.85 % of 10,000 wrong
python -m experiments.lenet --dataset cifar10 --data-dir D --channels 64 128 --shift 4 --flip --cosine --steps 10000

The first two took 40 seconds on 2 cores that other programs shared, the third five minutes of processor time.

With --target its errors are also counted on the test images of another domain, of the same classes, of which it learns nothing:
what the adaptation of `experiments.adda` begins from, and is compared with ("source only"). With --translator, a run of
`experiments.cycada` or `experiments.cyclegan`, it is trained and tested on translations of the images into that domain.
"""

from typing import Literal

import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives, optimizers
from jaxgen.analysis.confusion import confusion_picture
from jaxgen.analysis.translations import shown_translated, translations_by_class
from jaxgen.flags import Count, Counts, Positive, Share, Whole, value_of
from jaxgen.models.cnn import LeNet
from jaxgen.types import Array


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    target: str | data.Given | None = None,
    side: Count | None = None,
    subset: Count | None = None,
    translator: str | None = None,
    channels: Counts = (32, 64),
    hidden: Counts = (128,),
    valid: bool = False,
    dropout: Share = 0.5,
    map_dropout: Share = 0.0,
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
      target: the set of another domain, whose test images it is measured on as well; None is without. If one of the two is grey
        and the other in colour, both are taken in colour.
      side: the side to which the central squares of all images are brought; None leaves them as they are.
      subset: the number of training images, the first of the set; None takes all of them.
      translator: the run whose translator a_to_b the images go through; None shows them as they are.
      channels: feature maps of the 5x5 convolutions, the largest map first; each halves the side.
      hidden: widths of the dense layers; the last one's activations are the features.
      valid: whether the convolutions take four pixels off the side, in place of keeping it.
      dropout: share of the features that are dropped in training.
      map_dropout: share of the last convolution's maps that are dropped in training, each of them whole.
      smoothing: share of the target that is spread over all classes.
      shift: pixels by which training images are moved at random, at most, along either axis.
      flip: whether to show training images as in a mirror half of the time.
      optimizer: Adam, or stochastic gradient descent with momentum 0.9.
      learning_rate: the learning rate; by default 1e-3 with Adam, 0.05 with SGD.
    """
    wanted = [("train", dataset, "train" if subset is None else f"train[:{subset}]"), ("test", dataset, "test")]
    wanted += [] if target is None else [("test/target", target, "test")]
    splits = {name: data.load(one, split, **data.squared(side)) for name, one, split in wanted}
    splits = data.in_colour_together(splits)
    image = data.common_shape("image", *splits.values())
    classes = len(data.common_classes("label", *splits.values()))
    if shift and image[0] != image[1]:
        raise jaxgen.UserError(
            f"--shift {shift} wants square images, and those of {splits['test'].name} are {image[0]}x{image[1]}; leave it out."
        )
    moved = data.chain(data.pad(shift), data.crop(image[0])) if shift else data.identity
    augmented = data.chain(data.scale(), moved, data.flip() if flip else data.identity)

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    model = LeNet(classes, channels, hidden, dropout, "VALID" if valid else "SAME", map_dropout, dtype)
    if min(image[:2]) < model.smallest_side:
        raise jaxgen.UserError(
            f"With --valid {len(channels)} convolutions want images of {model.smallest_side} pixels a side or more, and those "
            f"of {splits['test'].name} are {image[0]}x{image[1]}; give a larger --side, or leave --valid out."
        )
    frozen = {} if translator is None else {"translator": jaxgen.frozen(translator, "a_to_b")}
    shown = shown_translated(frozen["translator"], image) if frozen else None
    peak = learning_rate or (0.05 if optimizer == "sgd" else 1e-3)
    rate = optimizers.learning_rate(peak, steps=steps, cosine=cosine)
    tx = value_of({"adam": optax.adam(rate), "sgd": optax.sgd(rate, momentum=0.9)}, optimizer)
    player = jaxgen.Player(objectives.classification(model, smoothing=smoothing, shown=shown), tx)
    # Of the other domain it is asked without a translation.
    of = {"test": player, "test/target": jaxgen.Player(objectives.classification(model), tx)}
    tests = {split: source for split, source in splits.items() if split in of}

    def logits(state: jaxgen.TrainState, x: Array) -> Array:
        return objectives.apply(model, state.params, state.vars, x)[0]

    def of_shown(state: jaxgen.TrainState, x: Array) -> Array:
        return logits(state, x if shown is None else shown(state, x))

    pictures = {"confusions": confusion_picture(splits["test"], of_shown, classes=classes)}
    if target is not None:
        told = "Images of the other domain"
        pictures["confusions_target"] = confusion_picture(splits["test/target"], logits, classes=classes, told=told)
    if shown is not None:
        pictures["translations"] = translations_by_class(splits["test"], shown, classes=classes)
    return jaxgen.Experiment(
        train=data.shuffled(splits["train"], batch_size, augmented),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, jnp.zeros((1, *image)), role="translator" if frozen else None)},
        frozen=frozen,
        splits=splits,
        evaluators={
            split: jaxgen.mean_over(source, jaxgen.loss_of(of[split]), batch_size=500, transform=data.scale())
            for split, source in tests.items()
        },
        pictures=pictures,
        ema=ema,
        accumulate=accumulate,
        schedules={"learning_rate": rate},
        protocol={"error": ()},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
