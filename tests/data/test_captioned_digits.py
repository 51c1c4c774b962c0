"""The captioned digits: what a caption says is what the picture shows."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from jaxgen import data
from jaxgen.data.builders import captioned_digits as cd


@pytest.fixture(scope="module")
def test_split() -> dict[str, np.ndarray]:
    source = data.load("captioned_digits", "test")
    assert source.classes == dict(cd.ATTRIBUTES)
    return source.gather(np.arange(source.length))


def test_splits_hold_six_pictures_of_every_digit_of_their_writers(test_split: dict) -> None:
    digits = load_digits()
    assert len(test_split["image"]) == 6 * 360
    np.testing.assert_array_equal(np.bincount(test_split["label"]), 6 * np.bincount(digits.target[1437:]))
    train = data.load("captioned_digits", "train")
    assert train.length == 6 * 1437
    labels = train.gather(np.arange(train.length))["label"]
    np.testing.assert_array_equal(np.bincount(labels), 6 * np.bincount(digits.target[:1437]))


def test_every_caption_names_all_attributes_and_no_other_value(test_split: dict) -> None:
    for i, caption in enumerate(test_split["caption"]):
        words = caption.decode()
        for name, values in cd.ATTRIBUTES.items():
            named = [v for v in values if re.search(rf"\b{v}\b", words)]
            assert named == [values[test_split[name][i]]], words
        assert " a orange" not in words
        assert " a eight" not in words


def test_attributes_are_drawn_evenly(test_split: dict) -> None:
    for name in ("colour", "size", "position", "ground"):
        counts = np.bincount(test_split[name], minlength=len(cd.ATTRIBUTES[name]))
        expected = 2160 / len(counts)
        assert ((counts - expected) ** 2 / expected).sum() < 20  # chi squared with at most 5 degrees: p > 0.001
    together = np.corrcoef([test_split[name] for name in cd.ATTRIBUTES])
    assert np.abs(together - np.eye(5)).max() < 0.08


def test_pictures_show_what_the_attributes_say(test_split: dict) -> None:
    images = np.float32(test_split["image"])
    ground = np.median(images.reshape(-1, 1024, 3), axis=1)
    dark = np.array(cd.ATTRIBUTES["ground"])[test_split["ground"]] == "dark"
    assert (ground[dark] < 50).all()
    assert (ground[~dark] > 200).all()
    ink = np.abs(images - ground[:, None, None]).sum(-1)
    hues = np.float32(list(cd.COLOURS.values()))
    for i in range(0, 2160, 7):
        y, x = np.nonzero(ink[i] > 60)
        # The most inked pixel has the colour itself.
        strongest = images[i].reshape(-1, 3)[ink[i].argmax()]
        assert np.abs(hues - strongest).sum(1).argmin() == test_split["colour"][i]
        assert (y.max() - y.min() + 1 > 13) == (cd.ATTRIBUTES["size"][test_split["size"][i]] == "large")
        place = cd.ATTRIBUTES["position"][test_split["position"][i]]
        height, width = (y.max() + y.min()) / 2 - 15.5, (x.max() + x.min()) / 2 - 15.5
        words = (
            "top" if height < -3 else "bottom" if height > 3 else "",
            "left" if width < -3 else "right" if width > 3 else "",
        )
        assert " ".join(words).strip() == ("" if place == "centre" else place)


def test_digits_are_still_legible() -> None:
    def large(split: str) -> tuple[np.ndarray, np.ndarray]:
        source = data.load("captioned_digits", split)
        rows = source.gather(np.arange(source.length))
        chosen = (rows["size"] == 1) & (rows["position"] == 0)
        images = np.float32(rows["image"][chosen])[:, 6:26, 6:26]
        return np.abs(images - images[:, :1, :1]).max(-1).reshape(len(images), -1), rows["label"][chosen]

    (x, y), (x_test, y_test) = large("train"), large("test")
    norm = lambda a: a / np.linalg.norm(a, axis=1, keepdims=True)
    assert KNeighborsClassifier(3).fit(norm(x), y).score(norm(x_test), y_test) > 0.85


def test_the_set_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    builder = cd.CaptionedDigits(data_dir=str(tmp_path))
    one, two = (dict(builder._generate_examples(3, 5)) for _ in range(2))
    assert len(one) == 12
    for key, example in one.items():
        assert example["caption"] == two[key]["caption"]
        np.testing.assert_array_equal(example["image"], two[key]["image"])
    assert len({example["caption"] for example in one.values()}) > 8
