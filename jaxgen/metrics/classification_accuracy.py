"""Classification accuracy score: the accuracy on real images of a classifier that was trained on samples alone."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgen import data
from jaxgen.data import Source
from jaxgen.errors import UserError
from jaxgen.game import Aux, TrainState
from jaxgen.losses.classification import cross_entropy
from jaxgen.metrics.fitting import fitted
from jaxgen.metrics.inputs import check_labels
from jaxgen.models.cnn import LeNet
from jaxgen.progress import Track
from jaxgen.progress import track as show
from jaxgen.types import Array, Batch, Key, Params
from jaxgen.uncertainty import named, of_share


class Recipe(NamedTuple):
    """The settings by which the classifier is made and trained; all of them belong to the protocol.

    Fields:
      channels: the numbers of channels of the LeNet's convolutions.
      hidden: widths of its dense layers.
      dropout: the dropout rate of its features.
      steps: training steps.
      batch_size: images in a step.
      learning_rate: Adam's learning rate at the start; it falls to zero along a cosine.
      seed: the seed of its initial parameters, of the order of the images, and of what is dropped.
    """

    channels: tuple[int, ...] = (32, 64)
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.5
    steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 0


def score(train: Source, test: Source, *, classes: int, recipe: Recipe = Recipe(), track: Track = show) -> float:  # noqa: B008
    """Trains a LeNet on one set of labelled images and counts on another.

    The classifier is small, so that the score is within reach of a laptop: it is not comparable with those of the paper,
    whose classifier is a ResNet-50. It is comparable with its own floor, that is the score of as many real images in the
    samples' place, and with other samples' scores by the same recipe.

    Args:
      train: samples as bytes `image`, and the classes that they were asked for, `label`. Or real images, for the floor.
      test: real images with their classes.
      classes: the number of classes.
      recipe: the recipe of the classifier.
      track: a function that shows the progress.

    Returns:
      The share of the test images that are taken for their own class; always to guess one class scores its share.

    Raises:
      UserError: if a set has no labels, or labels that are not known to mean the same, or the images are not of one shape.

    Source: Ravuri & Vinyals 2019, section 3.
    """
    _check(train, test)
    return classifier(train, classes=classes, recipe=recipe, track=track)(test)


def classifier(
    train: Source,
    *,
    classes: int,
    recipe: Recipe = Recipe(),  # noqa: B008
    track: Track = show,
) -> Callable[[Source], float]:
    """Trains a LeNet on a set of labelled images.

    Args:
      train: images with their classes, `image` and `label`.
      classes: the number of classes.
      recipe: the recipe of the classifier.
      track: a function that shows the progress.

    Returns:
      A function of a set of labelled images: the share of them that is taken for its own class. Like this one it raises a
      `UserError` for a set without labels, or with labels that are not known to mean the same, or of another shape.
    """
    _check(train)
    real, train = train, data.in_bytes(train)
    model = LeNet(classes, recipe.channels, recipe.hidden, recipe.dropout)

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        x = batch["image"].astype(jnp.float32) / 255
        logits: Any = model.apply({"params": params["model"]}, x, train=train, rngs={"dropout": key})
        return cross_entropy(logits, batch["label"]), Aux()

    params = fitted(
        model,
        loss,
        train,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        seed=recipe.seed,
        read=lambda batches: _labelled(batches, train, classes),
        description=f"a classifier of {train.name}",
        track=track,
    )

    def accuracy(test: Source) -> float:
        _check(real, test)
        return _accuracy(model, params, data.in_bytes(test), classes)

    return accuracy


def of_translations(
    images: Float[np.ndarray, "n h w c"],
    own: Source,
    target: tuple[Source, Source],
    *,
    classes: Sequence[str],
    recipe: Recipe = Recipe(),  # noqa: B008
    track: Track = show,
) -> dict[str, float]:
    """Translations of labelled images into another domain with the same classes, seen by a classifier of that domain.

    Args:
      images: the translations of all images of `own` in their order, in [0, 1].
      own: the images that were translated, with their classes.
      target: the training images and the test images of the domain that they were translated into.
      classes: the names of the classes.
      recipe: the recipe of the classifier, which is trained on the training images.
      track: a function that shows the progress.

    Returns:
      The shares that are taken for their own class, with their standard errors: `accuracy_translated` of the translations,
      `accuracy_untranslated` of the images as they are, and `accuracy_of_target` of the target's test images.
    """
    train, test = target
    accuracy = classifier(train, classes=len(classes), recipe=recipe, track=track)
    rows = {"image": images, "label": own.gather(np.arange(own.length))["label"]}
    with data.recording_opened():  # what is made here is no data of a run
        translated = data.from_arrays(rows, name=f"translations of {own.name}", classes=tuple(classes))
    found = {"translated": translated, "untranslated": own, "of_target": test}
    shares = {name: (accuracy(source), source.length) for name, source in found.items()}
    return named({f"accuracy_{name}": (share, of_share(share, n)) for name, (share, n) in shares.items()})


def _check(train: Source, *tests: Source) -> None:
    """Refuses sets whose labels or shapes do not go together."""
    data.common_shape("image", train, *tests)
    for source in (train, *tests):
        if "label" not in source.gather(np.zeros(1, np.int64)):
            raise UserError(f"{source.name} has no labels, of which a classifier is made; give a conditional model's samples.")
    for test in tests:
        data.same_classes("label", train, test)


def _accuracy(model: LeNet, params: Params, test: Source, classes: int) -> float:
    @jax.jit
    def right(params: Params, batch: Batch) -> Array:
        logits: Any = model.apply({"params": params}, batch["image"].astype(jnp.float32) / 255)
        return jnp.where(batch["mask"] > 0, logits.argmax(-1) == batch["label"], False).sum()

    batches = data.in_order(test, min(500, test.length))
    counts = [int(right(params, {**_labelled(batch, test, classes), "mask": batch["mask"]})) for batch in batches]
    return sum(counts) / test.length


def _labelled(batch: Batch, source: Source, classes: int) -> dict[str, np.ndarray]:
    """Images and labels, which are seen to be classes."""
    label = np.asarray(batch["label"])
    check_labels(
        label.reshape(-1) if np.issubdtype(label.dtype, np.integer) else label,
        classes=classes,
        name=f"the labels of {source.name}",
    )
    return {"image": batch["image"], "label": label.astype(np.int32)}
