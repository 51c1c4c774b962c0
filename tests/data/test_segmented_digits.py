"""The segmented digits: each pixel's class is that of the digit whose ink is there."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxgen import data
from jaxgen.data.builders import segmented_digits as sd
from jaxgen.data.builders.digits import TRAIN


@pytest.fixture(scope="module")
def test_split(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """In the order in which it is made; TFDS shuffles it."""
    builder = sd.SegmentedDigits(data_dir=str(tmp_path_factory.mktemp("segmented")))
    made = [example for _, example in builder._generate_examples(TRAIN, None)]
    return {feature: np.stack([np.asarray(example[feature]) for example in made]) for feature in ("image", "segmentation")}


def test_each_picture_has_its_own_digit_and_up_to_three_others(test_split: dict) -> None:
    digits = load_digits()
    classes = test_split["segmentation"]
    assert classes.max() <= 10
    quarters = classes.reshape(360, 2, 16, 2, 16).transpose(0, 1, 3, 2, 4).reshape(360, 4, 256)
    found = quarters.max(-1)
    # One digit to a quarter.
    assert all(set(np.unique(q)) <= {0, top} for q, top in zip(quarters.reshape(-1, 256), found.ravel(), strict=True))
    assert all(1 + target in row for row, target in zip(found, digits.target[TRAIN:], strict=True))
    assert (found > 0).mean() == pytest.approx((1 + 3 * sd.FILLED) / 4, abs=0.04)
    assert np.bincount(found.ravel(), minlength=11)[1:].min() > 60


def test_the_ground_is_of_one_colour_and_digits_are_not(test_split: dict) -> None:
    images, classes = np.float32(test_split["image"]), test_split["segmentation"]
    grounds = np.array(list(sd.GROUNDS.values()), np.float32)
    middle = np.median(images.reshape(360, -1, 3), axis=1)
    ground = grounds[np.abs(middle[:, None] - grounds).sum(-1).argmin(1)]
    away = np.abs(images - ground[:, None, None]).sum(-1)
    assert away[classes > 0].min() > 60
    assert np.median(away[classes == 0]) == 0


def test_the_set_is_that_of_the_builder(test_split: dict) -> None:
    train, test = (data.load("segmented_digits", split) for split in ("train", "test"))
    assert (train.length, test.length) == (TRAIN, 360)
    rows = test.gather(np.arange(360))
    pairs = {(image.tobytes(), classes.tobytes()) for image, classes in zip(*test_split.values(), strict=True)}
    found = zip(rows["image"], rows["segmentation"], strict=True)
    assert pairs == {(image.tobytes(), classes.tobytes()) for image, classes in found}
