"""The accuracy of translations: by a stand-in for the classifier, which takes the brightness of an image for its class."""

from typing import Any

import numpy as np
import pytest

from jaxgen import data
from jaxgen.metrics import classification_accuracy


def source(levels: Any, label: Any, name: str) -> data.Source:
    image = np.broadcast_to(np.asarray(levels, np.uint8)[:, None, None, None], (len(label), 2, 2, 1)).copy()
    return data.from_arrays({"image": image, "label": np.asarray(label)}, name=name, classes=("dark", "bright"))


def test_translations_are_compared_with_the_images_as_they_are_and_with_those_of_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def classifier(train: data.Source, *, classes: int, recipe: Any, track: Any) -> Any:
        seen.append((train.name, classes, recipe.steps))

        def accuracy(test: data.Source) -> float:
            rows = data.in_bytes(test).gather(np.arange(test.length))
            return float(((rows["image"][:, 0, 0, 0] > 127) == rows["label"]).mean())

        return accuracy

    monkeypatch.setattr(classification_accuracy, "classifier", classifier)
    own = source([0, 0, 0, 200, 0], [0, 1, 1, 0, 1], "own")
    target = source([0], [0], "target train"), source([200, 200], [0, 1], "target test")
    made = np.array([0.1, 0.9, 0.9, 0.1, 0.1], np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1), np.float32)
    recipe = classification_accuracy.Recipe(steps=3)
    found = classification_accuracy.of_translations(made, own, target, classes=("dark", "bright"), recipe=recipe)
    assert seen == [("target train", 2, 3)]
    shares = {"accuracy_translated": 0.8, "accuracy_untranslated": 0.2, "accuracy_of_target": 0.5}
    assert {name: found[name] for name in shares} == shares
    assert found["accuracy_translated_stderr"] == pytest.approx(np.sqrt(0.16 / 4))
    assert found["accuracy_of_target_stderr"] == pytest.approx(0.5)
