"""The network that segments made images, trained on pairs whose classes are seen in their pixels."""

import numpy as np
import pytest

from jaxgen import UserError, data
from jaxgen.metrics.real_pairs import SegmenterRecipe, segmenter

pytestmark = pytest.mark.trains
RECIPE = SegmenterRecipe(width=4, halvings=1, steps=120, batch_size=8)
quiet = lambda it, **_: it


def pairs(n: int, seed: int, **arrays: np.ndarray) -> data.Source:
    """Blocks of four grey levels, of which each is a class."""
    label = np.random.default_rng(seed).integers(0, 3, (n, 2, 3, 1)).repeat(4, 1).repeat(4, 2)
    rows = {"image": (40 + 80 * label).astype(np.uint8), "segmentation": label.astype(np.uint8)} | arrays
    return data.from_arrays(rows, name="pairs")


@pytest.fixture(scope="module")
def segment():
    return segmenter(pairs(64, 0), classes=3, recipe=RECIPE, track=quiet)


def test_classes_that_are_seen_are_found(segment) -> None:
    rows = pairs(60, 1).gather(np.arange(60))  # more than go through at a time
    found = segment(rows["image"])
    assert found.shape == (60, 8, 12)
    assert (found == rows["segmentation"][..., 0]).mean() > 0.97
    np.testing.assert_array_equal(segment(rows["image"][58:]), found[58:])


def test_the_seed_decides(segment) -> None:
    images = np.random.default_rng(3).integers(0, 256, (5, 8, 12, 1)).astype(np.uint8)
    again = segmenter(pairs(64, 0), classes=3, recipe=RECIPE, track=quiet)
    np.testing.assert_array_equal(again(images), segment(images))


def test_nothing_is_learned_of_pixels_whose_class_is_not_known() -> None:
    """A class that is void in the left half is learned from the right one; taken for a class, it would be found there."""
    rows = pairs(64, 0).gather(np.arange(64))
    label = rows["segmentation"].copy()
    label[:, :, :6] = 2
    known = segmenter(pairs(64, 0, segmentation=label), classes=3, recipe=RECIPE, track=quiet)
    spared = segmenter(pairs(64, 0, segmentation=np.where(label == 2, 3, label)), classes=3, void=3, recipe=RECIPE, track=quiet)
    test = pairs(20, 1).gather(np.arange(20))
    left = (slice(None), slice(None), slice(0, 4))
    own = test["segmentation"][..., 0][left]
    assert (known(test["image"])[left] == 2).mean() > 0.9
    assert (spared(test["image"])[left] == own)[own < 2].mean() > 0.7


def test_a_set_without_classes_is_refused() -> None:
    images = data.from_arrays({"image": np.zeros((4, 8, 8, 1), np.uint8)}, name="photos")
    with pytest.raises(UserError, match=r"^photos has no segmentation, of which a segmenter is made; give pairs of images and"):
        segmenter(images, classes=3, recipe=RECIPE, track=quiet)
