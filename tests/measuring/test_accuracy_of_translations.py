"""Classifiers of translated images, with a stand-in that says how bright its test set is."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import data
from jaxgen.measuring.translations import accuracy_of_translations, same_classes
from jaxgen.metrics import classification_accuracy

STATE = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), {"gain": jnp.float32(0.5)}, {}, {}, {})


def grey(levels: Any, name: str, names: Any = ("x", "y")) -> data.Source:
    image = np.broadcast_to(np.asarray(levels, np.uint8)[:, None, None, None], (len(levels), 2, 2, 1))
    return data.from_arrays({"image": image, "label": np.arange(len(levels)) % 2}, name=name, classes=names)


def quiet(batches: Any, **_: Any) -> Any:
    return batches


def test_translations_are_classified_by_what_was_trained_on_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def classifier(train: data.Source, *, classes: int, recipe: Any, track: Any) -> Any:
        seen.append((train.name, classes, recipe.steps))

        def accuracy(test: data.Source) -> float:
            rows = data.in_bytes(test).gather(np.arange(test.length))
            seen.append((test.length, rows["label"].tolist()))
            return float(rows["image"].mean() / 255)

        return accuracy

    monkeypatch.setattr(classification_accuracy, "classifier", classifier)
    own, target = grey([51, 102, 153, 102], "own"), (grey([1, 2], "train"), grey([204, 255], "test"))
    translated = lambda state, images: state.params["gain"] * images / 255
    found = accuracy_of_translations(translated, own, target, steps=7, chunk=2)(STATE, jax.random.key(0), quiet)
    assert found["accuracy_translated"] == pytest.approx(0.2, abs=0.003)
    assert found["accuracy_untranslated"] == pytest.approx(0.4)
    assert found["accuracy_of_target"] == pytest.approx(0.9)
    assert found["accuracy_untranslated_stderr"] == pytest.approx(np.sqrt(0.4 * 0.6 / 3))
    assert seen == [("train", 2, 7), (4, [0, 1, 0, 1]), (4, [0, 1, 0, 1]), (2, [0, 1])]


def test_classes_are_those_that_all_sets_have() -> None:
    one, other = grey([1, 2], "one"), grey([1, 2], "other", ("x", "z"))
    assert same_classes({"a": one, "b": one}) == ("x", "y")
    assert same_classes({"a": one, "b": one, "c": other}) == ()
    assert same_classes({"a": one._replace(classes={})}) == ()
