"""The accuracy of classifiers on translated images: whether a translation keeps the class."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxgen import data
from jaxgen.data import Source
from jaxgen.evaluate import Evaluator
from jaxgen.game import TrainState
from jaxgen.metrics import classification_accuracy
from jaxgen.progress import Track
from jaxgen.types import Key
from jaxgen.uncertainty import named, of_share


def same_classes(sources: Mapping[Any, Source]) -> tuple[str, ...]:
    """The names of the classes if all sources have the same ones; otherwise none."""
    first, *others = (source.classes.get("label", ()) for source in sources.values())
    return first if all(other == first for other in others) else ()


def accuracies(
    images: Float[np.ndarray, "n h w c"], own: Source, target: tuple[Source, Source], *, steps: int, track: Track
) -> dict[str, float]:
    """The accuracy of a LeNet of the target domain on translations of the images of another.

    `accuracy_translated` is the share of the translations that it takes for their own class, `accuracy_untranslated` that of
    the images as they are, and `accuracy_of_target` that of the test images of its own domain. No training of the translators
    sees these labels.

    Args:
      images: the translations of all images of `own` in their order, in [0, 1].
      own: the images that were translated, with their classes.
      target: the training and the test images of the domain that they are translated into, with the same classes.
      steps: the training steps of the LeNet.
      track: a function that shows the progress.

    Returns:
      The values, with the standard errors of shares.
    """
    train, test = target
    names = own.classes["label"]
    recipe = classification_accuracy.Recipe(steps=steps)
    accuracy = classification_accuracy.classifier(train, classes=len(names), recipe=recipe, track=track)
    rows = {"image": images, "label": own.gather(np.arange(own.length))["label"]}
    with data.recording_opened():  # what is made here is no data of a run
        translated = data.from_arrays(rows, name=f"translations of {own.name}", classes=names)
    found = {"translated": translated, "untranslated": own, "of_target": test}
    shares = {name: (accuracy(source), source.length) for name, source in found.items()}
    return named({f"accuracy_{name}": (share, of_share(share, n)) for name, (share, n) in shares.items()})


def accuracy_of_translations(
    translated: Callable[[TrainState, Any], Any], own: Source, target: tuple[Source, Source], *, steps: int, chunk: int = 16
) -> Evaluator:
    """The `accuracies` of the translations of all test images of a domain.

    Args:
      translated: the translation of bytes into numbers in [0, 1], of a state.
      own: the test images that are translated, with their classes.
      target: the training and the test images of the domain that they are translated into, with the same classes.
      steps: the training steps of the LeNet.
      chunk: images that are translated at a time; no value depends on it.

    Returns:
      The evaluator.
    """

    def evaluate(state: TrainState, key: Key, track: Track) -> Mapping[str, float]:
        batches = data.in_order(own, chunk)
        made = [np.asarray(translated(state, batch["image"]))[batch["mask"] > 0] for batch in batches]
        return accuracies(np.concatenate(made), own, target, steps=steps, track=track)

    return evaluate
