"""The segmented digits: each pixel's class is that of its ground, or of the ink that is there."""

import numpy as np
import pytest

from jaxgen import data
from jaxgen.data.builders import segmented_digits as sd
from jaxgen.data.builders.digits import TRAIN


@pytest.fixture(scope="module")
def test_split(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """In the order in which it is made; TFDS shuffles it."""
    builder = sd.SegmentedDigits(data_dir=str(tmp_path_factory.mktemp("segmented")))
    made = [example for _, example in builder._generate_examples(TRAIN, None)]
    return {feature: np.stack([np.asarray(example[feature]) for example in made]) for feature in ("image", "segmentation")}


def test_each_quarter_has_one_digit_at_most_in_one_ink_on_one_ground(test_split: dict) -> None:
    classes = test_split["segmentation"]
    grounds = np.array([np.bincount(one.ravel()[one.ravel() < 2]).argmax() for one in classes])
    quarters = classes.reshape(360, 2, 16, 2, 16).transpose(0, 1, 3, 2, 4).reshape(360, 4, 256)
    inks = quarters.max(-1)
    for ground, quarter, ink in zip(np.repeat(grounds, 4), quarters.reshape(-1, 256), inks.ravel(), strict=True):
        assert set(np.unique(quarter)) <= {ground, ink}
    assert (inks > 1).any(1).all()
    assert (inks > 1).mean() == pytest.approx((1 + 3 * sd.FILLED) / 4, abs=0.04)
    assert np.bincount(inks.ravel(), minlength=8)[2:].min() > 100
    assert np.bincount(grounds, minlength=2).min() > 140
    assert len(sd.CLASSES) == 8


def test_a_pixel_has_the_class_whose_colour_it_is_nearest_to(test_split: dict) -> None:
    """But on soft edges, which are a mixture of two colours and may be nearest to a third."""
    palette = np.array([*sd.GROUNDS.values(), *sd.COLOURS.values()], np.float32)
    nearest = np.square(np.float32(test_split["image"])[..., None, :] - palette).sum(-1).argmin(-1)
    assert (nearest == test_split["segmentation"]).mean() > 0.9
    pure = np.abs(np.float32(test_split["image"])[..., None, :] - palette).sum(-1).min(-1) == 0
    assert pure.mean() > 0.5
    np.testing.assert_array_equal(nearest[pure], test_split["segmentation"][pure])


def test_the_set_is_that_of_the_builder(test_split: dict) -> None:
    train, test = (data.load("segmented_digits", split) for split in ("train", "test"))
    assert (train.length, test.length) == (TRAIN, 360)
    rows = test.gather(np.arange(360))
    pairs = {(image.tobytes(), classes.tobytes()) for image, classes in zip(*test_split.values(), strict=True)}
    found = zip(rows["image"], rows["segmentation"], strict=True)
    assert pairs == {(image.tobytes(), classes.tobytes()) for image, classes in found}
