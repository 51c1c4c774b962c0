"""Colours of classes: how a segmentation is shown as an image, and which colours a set shows it in."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from jaxgen.data.source import Source
from jaxgen.errors import UserError


class Palette(NamedTuple):
    """The colours of some classes.

    Fields:
      classes: the classes' numbers, `[k]`, in ascending order.
      colours: the colours of the classes as bytes, `[k, 3]`.
    """

    classes: Int[np.ndarray, " k"]
    colours: UInt8[np.ndarray, "k 3"]


def voc_colours() -> UInt8[np.ndarray, "256 3"]:
    """The colours in which PASCAL VOC shows classes 0 to 255: black is class 0, and 255, which is void there, is cream.

    The bits 0, 3 and 6 of a class's number are the highest three bits of red, the bits 1, 4 and 7 those of green, and 2 and 5
    those of blue. Source: Everingham et al. 2010, `VOClabelcolormap.m` of the development kit.

    >>> voc_colours()[[0, 1, 15, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]
    """
    numbers = np.arange(256)
    channels = [sum(((numbers >> (3 * i + c)) & 1) << (7 - i) for i in range(3)) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def coloured(
    *, feature: str = "segmentation", into: str = "label_rgb", classes: Collection[int] | None = None
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An `example_map` that shows a segmentation in VOC's colours, unless the example brings an image of it.

    Args:
      feature: the feature that has the classes, `[H, W, 1]`, from 0 to 255.
      into: the feature that gets the image, `[H, W, 3]`.
      classes: the numbers that a pixel may have; None allows them all.

    Returns:
      The map, which raises a `UserError` for an example without a segmentation, or with a class that is none of the numbers.

    >>> coloured()({"segmentation": np.array([[[1]]])})["label_rgb"].tolist()
    [[[128, 0, 0]]]
    """
    colours = voc_colours()

    def fn(example: dict[str, Any]) -> dict[str, Any]:
        if feature not in example:
            there = ", ".join(sorted(example))
            raise UserError(f"Examples have no {feature!r}, only {there}; take a set of images with the class of each pixel.")
        numbers = np.asarray(example[feature])
        if numbers.ndim != 3 or numbers.shape[-1] != 1 or numbers.dtype.kind not in "iu":
            raise UserError(
                f"The {feature} is {numbers.dtype} of shape {list(numbers.shape)}; give whole numbers of shape [H, W, 1]."
            )
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < len(colours)):
            raise UserError(f"The {feature} has classes from {numbers.min()} to {numbers.max()}; give numbers from 0 to 255.")
        unknown = [] if classes is None else sorted(set(np.unique(numbers).tolist()) - set(classes))
        if unknown:
            raise UserError(
                f"The {feature} has the class {unknown[0]}, and the classes are {_span(classes)}; give more --classes, or the "
                "number of pixels without a class as --void."
            )
        return example if into in example else {**example, into: colours[numbers[..., 0]]}

    return fn


def palette_of(*sources: Source, feature: str = "segmentation", shown: str = "label_rgb") -> Palette:
    """The colours in which sets show their classes, as their examples have them.

    Args:
      *sources: the sets, such as the splits of one; they are read once, whole.
      feature: the feature that has the classes, `[H, W, 1]`.
      shown: the feature that has the images of them, `[H, W, 3]` bytes.

    Returns:
      The classes that occur, and their colours.

    Raises:
      UserError: if a class is shown in two colours.
    """
    colours: dict[int, tuple[int, ...]] = {}
    for source, start in ((own, start) for own in sources for start in range(0, own.length, 256)):
        rows = source.gather(np.arange(start, min(start + 256, source.length)))
        pairs = np.concatenate([rows[feature].astype(np.int64), rows[shown]], axis=-1)
        for label, *colour in np.unique(pairs.reshape(-1, pairs.shape[-1]), axis=0).tolist():
            if colours.setdefault(label, tuple(colour)) != tuple(colour):
                raise UserError(
                    f"{source.name} shows class {label} of its {feature} as {colours[label]} and as {tuple(colour)} in its "
                    f"{shown}; give one colour to a class, or leave {shown} out."
                )
    classes = sorted(colours)
    return Palette(np.array(classes), np.array([colours[label] for label in classes], np.uint8))


def _span(classes: Collection[int] | None) -> str:
    """Class numbers in words: the first ones, and those that follow a gap."""
    numbers = sorted(classes or ())
    first = next((i for i, number in enumerate(numbers) if number != i), len(numbers))
    return ", ".join([*([f"0 to {first - 1}"] if first else []), *map(str, numbers[first:])])
