"""Colours of classes: VOC's table, segmentations as images, and the palette that a set shows."""

import numpy as np
import pytest

from jaxgen import data
from jaxgen.errors import UserError

SEGMENTATION = np.random.default_rng(0).integers(0, 4, (9, 5, 6, 1)).astype(np.uint8)


def test_vocs_colours() -> None:
    """The first classes' as the development kit lists them: background, aeroplane, bicycle, bird ... tv/monitor."""
    colours = data.voc_colours()
    assert colours[:9].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    assert colours[20].tolist() == [0, 64, 128]
    assert len(np.unique(colours, axis=0)) == 256


def test_a_segmentation_as_an_image() -> None:
    example = {"segmentation": SEGMENTATION[0], "image": 0}
    shown = data.coloured()(example)
    np.testing.assert_array_equal(shown["label_rgb"], data.voc_colours()[SEGMENTATION[0, :, :, 0]])
    assert shown["image"] == 0
    own = {**example, "label_rgb": np.ones((5, 6, 3), np.uint8)}
    assert data.coloured()(own) is own
    assert set(data.coloured(feature="mask", into="seen")({"mask": SEGMENTATION[0]})) == {"mask", "seen"}


@pytest.mark.parametrize(
    ("example", "told"),
    [
        ({"image": 1, "label": 2}, "no 'segmentation', only image, label; take a set of images with the class of each pixel"),
        ({"segmentation": np.zeros((2, 2))}, r"float64 of shape \[2, 2\]; give whole numbers of shape \[H, W, 1\]"),
        ({"segmentation": np.full((2, 2, 1), -1)}, "classes from -1 to -1; give numbers from 0 to 255"),
        ({"segmentation": np.full((2, 2, 1), 300)}, "classes from 300 to 300; give numbers from 0 to 255"),
    ],
)
def test_what_is_no_segmentation_is_refused(example: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        data.coloured()(example)


def test_the_palette_of_a_set() -> None:
    colours = np.array([[9, 9, 9], [0, 0, 0], [255, 0, 1], [3, 2, 1]], np.uint8)
    classes = np.array([0, 1, 7, 255], np.uint8)[SEGMENTATION]
    source = data.from_arrays({"segmentation": classes, "label_rgb": colours[SEGMENTATION[..., 0]]})
    found = data.palette_of(source)
    assert found.classes.tolist() == [0, 1, 7, 255]
    np.testing.assert_array_equal(found.colours, colours)


def test_a_class_in_two_colours_is_refused() -> None:
    shown = data.voc_colours()[SEGMENTATION[..., 0]]
    shown[8, 0, 0] = 77
    source = data.from_arrays({"segmentation": SEGMENTATION, "label_rgb": shown}, name="mine")
    with pytest.raises(UserError, match=r"mine shows class \d of its segmentation as .* and as .*; give one colour to a class"):
        data.palette_of(source)
