"""Segmentations: how many pixels have the right class, counted over a whole set of images."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Num

from jaxgen.errors import InputError


class Scores(NamedTuple):
    """The scores of a confusion matrix; for several matrices, arrays of as many scores.

    Fields:
      pixel_accuracy: the share of the pixels that have their right class.
      class_accuracy: the mean over the classes of the share of a class's pixels that have it.
      mean_iou: the mean over the classes of the intersection of right and found pixels over their union.
    """

    pixel_accuracy: Any
    class_accuracy: Any
    mean_iou: Any


def confusions(
    label: Int[np.ndarray, "n h w"], found: Int[np.ndarray, "n h w"], *, classes: int, void: int | None = None
) -> Int[np.ndarray, "n k k"]:
    """The confusion matrix of each image: how many pixels of the row's class were taken for the column's.

    Args:
      label: the right classes, from 0 on.
      found: the classes that they were taken for.
      classes: the number of classes k.
      void: the label of pixels whose class is not known, which are not counted.

    Returns:
      The matrices. That of a set is their sum.

    Raises:
      InputError: if a counted pixel has a label that is no class, or was taken for something that is none.

    >>> confusions(np.array([[[0, 1, 1, 9]]]), np.array([[[0, 0, 1, 1]]]), classes=2, void=9).tolist()
    [[[1, 0], [1, 1]]]
    """
    counted = np.ones(label.shape, bool) if void is None else label != void
    for name, values in (("label", label), ("class that was found", found)):
        held = values[counted]
        if held.size and not (held.min() >= 0 and held.max() < classes):
            wrong = held.min() if held.min() < 0 else held.max()
            raise InputError(
                f"A {name} is {wrong}, and there are the classes 0 to {classes - 1}; give it as void, or more classes."
            )
    image = np.broadcast_to(np.arange(len(label))[:, None, None], label.shape)
    cell = (image[counted].astype(np.int64) * classes + label[counted]) * classes + found[counted]
    return np.bincount(cell, minlength=len(label) * classes**2).reshape(len(label), classes, classes)


def scores(confusion: Num[np.ndarray, "*n k k"]) -> Scores:
    r"""Accuracies and the mean intersection over union, of the pixels $n_{ij}$ of class i that were taken for class j.

    They are $\sum_i n_{ii} / \sum_i t_i$, $\frac 1 k \sum_i n_{ii} / t_i$ and
    $\frac 1 k \sum_i n_{ii} / (t_i + \sum_j n_{ji} - n_{ii})$ with $t_i = \sum_j n_{ij}$. A class without pixels has no
    accuracy and, where nothing was taken for it either, no intersection over union: it is left out of these means.

    Args:
      confusion: a confusion matrix, or several.

    Returns:
      The scores, nan where no pixel is counted.

    Source: Long et al. 2015, section 5; Isola et al. 2017, section 4.1.

    >>> [float(score) for score in scores(np.array([[3, 1], [0, 4]]))]
    [0.875, 0.875, 0.775]
    """
    confusion = np.asarray(confusion, np.float64)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    of_class, taken = confusion.sum(-1), confusion.sum(-2)
    either = of_class + taken - right
    return Scores(_ratio(right.sum(-1), of_class.sum(-1)), _mean(_ratio(right, of_class)), _mean(_ratio(right, either)))


def standard_errors(confusions: Num[np.ndarray, "n k k"]) -> Scores:
    r"""The standard errors of the scores of a set over its images, by the jackknife.

    $\sqrt{\frac{n - 1}{n} \sum_i (s_{-i} - \bar s)^2}$, where $s_{-i}$ is the score of all images but the i-th.

    Args:
      confusions: the confusion matrix of each image.

    Returns:
      One error for each score; nan of a single image.

    Source: Efron & Tibshirani 1993, equation 11.5.
    """
    n = len(confusions)
    if n < 2:
        return Scores(*np.full(3, np.nan))
    without = scores(confusions.sum(0) - confusions)
    return Scores(*(np.sqrt((n - 1) * np.var(s)) for s in without))


def nearest_colour(images: Num[np.ndarray, "*n c"], palette: Num[np.ndarray, "k c"]) -> Int[np.ndarray, "*n"]:
    """The colour of a palette that is nearest to each pixel, in the Euclidean distance of the channels.

    Args:
      images: the images, in the palette's range.
      palette: the colours.

    Returns:
      The colours' numbers, the first of those that are equally near.

    >>> nearest_colour(np.array([[0.1, 0.0, 0.2], [0.9, 0.8, 1.0]]), np.array([[0, 0, 0], [1, 1, 1]])).tolist()
    [0, 1]
    """
    palette = np.asarray(palette, np.float64)
    # |x - p|^2 without |x|^2, which is the same for all colours.
    distance = (palette**2).sum(-1) - 2 * np.asarray(images, np.float64) @ palette.T
    return distance.argmin(-1)


def _ratio(part: Any, whole: Any) -> Any:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)[()]


def _mean(values: Any) -> Any:
    """The mean along the last axis of the values that are there."""
    there = np.isfinite(values)
    return _ratio(np.where(there, values, 0.0).sum(-1), there.sum(-1).astype(np.float64))
