"""Checks that sets go together: images of one shape, labels that mean the same."""

import numpy as np

from jaxgen.data.source import Source
from jaxgen.errors import UserError

LOOKED_AT = 1024
"""Examples whose labels are checked before a set is used: reading all of them may take hours."""


def common_shape(feature: str, *sources: Source) -> tuple[int, ...]:
    """The shape of one example's feature, which a network takes from all of the sources.

    Raises:
      UserError: if a source lacks the feature, or has another shape.
    """
    shapes = [source.shape(feature) for source in sources]
    if len(set(shapes)) > 1:
        told = ", ".join(f"{source.name} of {'x'.join(map(str, shape))}" for source, shape in zip(sources, shapes, strict=True))
        raise UserError(f"One model cannot take every {feature}: {told}; bring them to one shape.")
    return shapes[0]


def common_classes(feature: str, *sources: Source) -> tuple[str, ...]:
    """The names of a label's values, which mean the same in all of the sources.

    Labels are looked at too, `LOOKED_AT` of them, evenly spaced: a set whose labels are withheld has -1 in their place.

    Raises:
      UserError: if a source has no classes, or other ones, naming the difference; or if a label is none of them.
    """
    classes = [source.classes.get(feature, ()) for source in sources]
    named = [(source.name, found) for source, found in zip(sources, classes, strict=True)]
    for name, found in named:
        if not found:
            raise UserError(
                f"{name} has no classes of a feature {feature!r}; take a set that has (`data.from_arrays(..., classes=(...))` "
                "makes one), or a model that needs none."
            )
    (first, one), *others = named
    for name, other in others:
        if one != other:
            told = f"{first} has {_some(one)}, {name} has {_some(other)}{_difference(first, one, name, other)}"
            raise UserError(f"A {feature} means different things: {told}; give all splits the same classes.")
    for source in sources:
        check_labels(feature, source, len(classes[0]))
    return classes[0]


def same_classes(feature: str, a: Source, b: Source) -> None:
    """Refuses two sets whose labels cannot be compared, because they are not known to mean the same.

    A set without names calls its classes by their numbers, and goes with another one without names, or with names 0, 1, 2 ...

    Raises:
      UserError: if the classes differ, or only one of the sets has names for them.
    """
    named, unnamed = sorted((a, b), key=lambda source: not source.classes.get(feature))
    names = named.classes.get(feature, ())
    if unnamed.classes.get(feature):
        common_classes(feature, a, b)
    elif names != tuple(map(str, range(len(names)))):
        raise UserError(
            f"A {feature} of {named.name} is one of {_some(names)}, and what the numbers of {unnamed.name} mean is not known; "
            "give names to both: an array `classes` beside `label` in an .npz file, or a folder a class."
        )


def check_labels(feature: str, source: Source, classes: int) -> None:
    """Refuses a set of whose labels one is no class 0, ..., classes - 1: used as an index, -1 would be the last class.

    Args:
      feature: the label.
      source: the set, of which `LOOKED_AT` examples are read, evenly spaced.
      classes: the number of classes.

    Raises:
      UserError: naming the set and the label.
    """
    rows = np.unique(np.linspace(0, source.length - 1, min(source.length, LOOKED_AT)).astype(np.int64))
    found = np.asarray(source.gather(rows)[feature])
    if not np.issubdtype(found.dtype, np.integer) or found.ndim != 1:
        raise UserError(f"The {feature} of {source.name} is {found.dtype} {list(found.shape[1:])}, not one whole number each.")
    if found.min() < 0:
        raise UserError(
            f"The {feature}s of {source.name} are withheld: {(found < 0).sum():,} of {len(found):,} that were looked at are "
            f"{found[found < 0][0]}; take a split whose {feature}s are public."
        )
    if found.max() >= classes:
        raise UserError(f"{source.name} has the {feature} {found.max()}, and its classes are 0 to {classes - 1}; mend the set.")


def _some(names: tuple[str, ...]) -> str:
    return f"{' '.join(names[:5])}{' ...' if names[5:] else ''}"


def _difference(first: str, one: tuple[str, ...], name: str, other: tuple[str, ...]) -> str:
    """The classes that only one of two sets has, where the first five do not show it."""
    if len(one) <= 5 and len(other) <= 5:
        return ""
    only = [
        f"only {of} has {_some(tuple(c for c in mine if c not in theirs))}"
        for of, mine, theirs in ((first, one, other), (name, other, one))
        if set(mine) - set(theirs)
    ]
    return f" ({', '.join(only) or 'the same in another order'})"
