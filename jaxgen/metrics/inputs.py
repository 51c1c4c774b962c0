"""Checks of the arguments of metrics: numbers that are finite, labels that are classes, and enough examples."""

import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import Num, Shaped

from jaxgen.errors import FewExamplesWarning, InputError

ROWS = 8192
"""Examples that are looked at together: an array may be in a file."""


def is_finite(x: Num[np.ndarray, "n ..."]) -> bool:
    """Whether no number is nan or infinite."""
    return first_not_finite(x) is None


def first_not_finite(x: Num[np.ndarray, "n ..."]) -> int | None:
    """The first example with a number that is nan or infinite; None if there is none.

    >>> first_not_finite(np.array([[0.0], [np.inf], [np.nan]]))
    1
    """
    if not np.issubdtype(x.dtype, np.inexact):
        return None
    for start, part in _parts(x):
        bad = np.flatnonzero(~np.isfinite(part).reshape(len(part), -1).all(1))
        if len(bad):
            return start + int(bad[0])
    return None


def check_finite(**arrays: Num[np.ndarray, "..."]) -> None:
    """Refuses arrays with a number that is not finite, which would become a plausible value.

    Args:
      **arrays: the arrays, by the name that the message calls them.

    Raises:
      InputError: naming the array and the first row of it that is not finite.

    >>> check_finite(codes=np.array([[0.0], [np.nan]]))
    Traceback (most recent call last):
    jaxgen.errors.InputError: Row 1 of codes holds nan; a metric needs finite numbers: mend or leave out what made it.
    """
    for name, x in arrays.items():
        row = first_not_finite(np.asarray(x))
        if row is not None:
            values = np.asarray(x[row]).ravel()
            raise InputError(
                f"Row {row} of {name.replace('_', ' ')} holds {values[~np.isfinite(values)][0]}; a metric needs finite "
                "numbers: mend or leave out what made it."
            )


def check_labels(labels: Shaped[np.ndarray, " n"], *, classes: int | None = None, name: str = "the labels") -> None:
    """Refuses labels that are no classes 0, 1, 2, ...: used as an index, -1 would be the last class.

    Args:
      labels: the labels of some examples.
      classes: the number of classes; None where any number of them may be.
      name: the words with which the message names the labels: "the labels of mnist test".

    Raises:
      InputError: if they are not whole numbers, if one is negative (a withheld label), or one is no class.

    >>> check_labels(np.array([0, 1, -1]))
    Traceback (most recent call last):
    jaxgen.errors.InputError: Of the labels, 1 of 3 are withheld (-1); give a set or a split whose labels are public.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{_capital(name)} are of type {labels.dtype} and shape {list(labels.shape)}; give one whole number an example."
        )
    withheld = labels < 0
    if withheld.any():
        raise InputError(
            f"Of {name}, {withheld.sum():,} of {len(labels):,} are withheld ({labels[withheld][0]}); "
            "give a set or a split whose labels are public."
        )
    if classes is not None and len(labels) and labels.max() >= classes:
        raise InputError(f"{_capital(name)} hold {labels.max()}, and there are the classes 0 to {classes - 1}; give it those.")


def warn_few(caution: str | None) -> None:
    """Warns that an estimate has too few examples, if there is something to say."""
    if caution is not None:
        warnings.warn(f"Few examples: {caution}.", FewExamplesWarning, stacklevel=3)


def _parts(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    return ((start, np.asarray(x[start : start + ROWS])) for start in range(0, len(x), ROWS))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
