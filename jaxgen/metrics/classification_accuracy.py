"""Classification accuracy score: the accuracy on real images of a classifier that was trained on samples alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

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

CHUNK = 500
"""Images that are classified at a time; no value depends on it."""


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
    predict = recogniser(train, classes=classes, recipe=recipe, track=track)

    def accuracy(test: Source) -> float:
        _check(train, test)
        own = data.in_bytes(test)
        batches = data.in_order(own, min(CHUNK, test.length))
        counts = []
        for batch in batches:
            found = _labelled(batch, own, classes)
            counts.append(int(((predict(found["image"]) == found["label"]) & (batch["mask"] > 0)).sum()))
        return sum(counts) / test.length

    return accuracy


def recogniser(
    train: Source,
    *,
    classes: int,
    recipe: Recipe = Recipe(),  # noqa: B008
    track: Track = show,
) -> Callable[[UInt8[np.ndarray, "n h w c"]], Int[np.ndarray, " n"]]:
    """Trains a LeNet on a set of labelled images, and tells the classes of others.

    Args:
      train: images with their classes, `image` and `label`.
      classes: the number of classes.
      recipe: the recipe of the classifier.
      track: a function that shows the progress.

    Returns:
      A function from images, as bytes, to their classes.

    Raises:
      UserError: if the set has no labels.
    """
    _check(train)
    train = data.in_bytes(train)
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

    @jax.jit
    def of_chunk(x: Array) -> Array:
        logits: Any = model.apply({"params": params}, x.astype(jnp.float32) / 255)
        return logits.argmax(-1)

    def predict(images: np.ndarray) -> np.ndarray:
        parts = (images[i : i + CHUNK] for i in range(0, len(images), CHUNK))
        return np.concatenate([np.asarray(of_chunk(part)) for part in parts])

    return predict


def _check(train: Source, *tests: Source) -> None:
    """Refuses sets whose labels or shapes do not go together."""
    data.common_shape("image", train, *tests)
    for source in (train, *tests):
        if "label" not in source.gather(np.zeros(1, np.int64)):
            raise UserError(f"{source.name} has no labels, of which a classifier is made; give a conditional model's samples.")
    for test in tests:
        data.same_classes("label", train, test)


def _labelled(batch: Batch, source: Source, classes: int) -> dict[str, np.ndarray]:
    """Images and labels, which are seen to be classes."""
    label = np.asarray(batch["label"])
    check_labels(
        label.reshape(-1) if np.issubdtype(label.dtype, np.integer) else label,
        classes=classes,
        name=f"the labels of {source.name}",
    )
    return {"image": batch["image"], "label": label.astype(np.int32)}
