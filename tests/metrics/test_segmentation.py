"""Segmentation scores against closed forms, scikit-learn and brute force."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, jaccard_score

from jaxgen.errors import InputError
from jaxgen.metrics.segmentation import confusions, nearest_colour, scores, standard_errors

RNG = np.random.default_rng(0)
LABEL, FOUND = RNG.integers(0, 5, (7, 6, 4)), RNG.integers(0, 5, (7, 6, 4))


def test_confusions_are_scikit_learns_image_by_image() -> None:
    found = confusions(LABEL, FOUND, classes=6)
    for one, label, taken in zip(found, LABEL, FOUND, strict=True):
        np.testing.assert_array_equal(one, confusion_matrix(label.ravel(), taken.ravel(), labels=range(6)))
    assert found.dtype == np.int64


def test_scores_are_scikit_learns() -> None:
    label, taken = LABEL.ravel(), FOUND.ravel()
    found = scores(confusions(LABEL, FOUND, classes=6).sum(0))  # class 5 is nowhere, and counts nowhere
    assert found.pixel_accuracy == pytest.approx((label == taken).mean())
    assert found.class_accuracy == pytest.approx(balanced_accuracy_score(label, taken))
    assert found.mean_iou == pytest.approx(jaccard_score(label, taken, average="macro"))


def test_void_pixels_are_not_counted_whatever_they_are_taken_for() -> None:
    label = np.where(RNG.random(LABEL.shape) < 0.3, 255, LABEL)
    counted = label != 255
    expected = confusion_matrix(label[counted], FOUND[counted], labels=range(5))
    np.testing.assert_array_equal(confusions(label, FOUND, classes=5, void=255).sum(0), expected)
    elsewhere = np.where(counted, FOUND, 77)
    np.testing.assert_array_equal(confusions(label, elsewhere, classes=5, void=255).sum(0), expected)
    # A void number among the classes: no pixel of its row is left, and what is taken for it is wrong.
    inside = confusions(LABEL, FOUND, classes=5, void=4).sum(0)
    assert inside[4].sum() == 0
    assert inside[:, 4].sum() == ((LABEL != 4) & (FOUND == 4)).sum()


def test_scores_in_closed_form() -> None:
    """Half of class 0 is taken for class 1; class 2 has no pixels, but some are taken for it; class 3 is nowhere."""
    matrix = np.array([[5, 5, 0, 0], [0, 8, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = scores(matrix)
    assert found.pixel_accuracy == pytest.approx(13 / 20)
    assert found.class_accuracy == pytest.approx((0.5 + 0.8) / 2)
    assert found.mean_iou == pytest.approx((5 / 10 + 8 / 15 + 0 / 2) / 3)
    assert scores(np.diag([3, 1, 0])) == (1.0, 1.0, 1.0)
    assert all(np.isnan(scores(np.zeros((2, 2)))))
    assert scores(np.stack([matrix, np.eye(4)])).pixel_accuracy.tolist() == [13 / 20, 1.0]


def test_figures_are_of_the_corpus_and_not_means_of_images() -> None:
    one, other = np.array([[1, 0], [0, 0]]), np.array([[0, 3], [0, 0]])
    assert scores(one + other).pixel_accuracy == 0.25
    assert (scores(one).pixel_accuracy + scores(other).pixel_accuracy) / 2 == 0.5


def test_standard_errors() -> None:
    """Of images with equally many pixels the pixel accuracy is a mean, and the jackknife is s / sqrt(n)."""
    each = confusions(LABEL, FOUND, classes=5)
    shares = (LABEL == FOUND).mean((1, 2))
    found = standard_errors(each)
    assert found.pixel_accuracy == pytest.approx(shares.std(ddof=1) / np.sqrt(7))
    left_out = np.array([scores(np.delete(each, i, 0).sum(0)).mean_iou for i in range(7)])
    assert found.mean_iou == pytest.approx(np.sqrt(6 / 7 * ((left_out - left_out.mean()) ** 2).sum()))
    assert all(np.isnan(standard_errors(each[:1])))


@pytest.mark.parametrize(("label", "found", "told"), [(5, 0, "label is 5"), (-1, 0, "label is -1"), (0, 5, "found is 5")])
def test_what_is_no_class_is_refused(label: int, found: int, told: str) -> None:
    with pytest.raises(InputError, match=rf"{told}, and there are the classes 0 to 4; give it as void"):
        confusions(np.full((1, 1, 1), label), np.full((1, 1, 1), found), classes=5)


def test_nearest_colours_by_brute_force() -> None:
    palette = RNG.integers(0, 256, (9, 3))
    images = RNG.integers(0, 256, (2, 5, 4, 3))
    brute = ((images[..., None, :] - palette) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(nearest_colour(images, palette), brute)
    np.testing.assert_array_equal(nearest_colour(palette, palette), np.arange(9))
