"""Labels as class numbers: numbers stay, names and one-hot rows become numbers, and nothing is guessed."""

import re
from collections.abc import Sequence

import numpy as np

from jaxgen.errors import UserError


def ordered(names: Sequence[str]) -> list[str]:
    """Names of classes in their order: by number where all of them are whole numbers, by their characters otherwise.

    >>> ordered(["10", "9", "1"]), ordered(["c10", "c9", "1"])
    (['1', '9', '10'], ['1', 'c10', 'c9'])
    """
    if all(re.fullmatch(r"-?[0-9]+", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names, key=lambda name: name.split("/"))


def numbered(label: np.ndarray, name: str, *, names: Sequence[str] = ()) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class of every example as a number.

    Args:
      label: whole numbers of any type, `[n]` or `[n, 1]`; names of classes, text or bytes, `[n]`; or one-hot rows `[n, k]`.
      name: the name of the set, for the message.
      names: the names of the classes, in order, where they are known.

    Returns:
      The numbers `[n]`, and the names that they stand for: those given or those found, none where the labels were numbers.

    Raises:
      UserError: if they are none of these.

    >>> numbered(np.array(["dog", "cat", "dog"]), "pets")
    (array([1, 0, 1]), ('cat', 'dog'))
    >>> numbered(np.eye(3)[[2, 0]], "three")[0]
    array([2, 0])
    """
    label = np.asarray(label)
    if label.dtype.kind == "O":
        kinds = {type(value) for value in label.ravel().tolist()}
        if kinds <= {str} or kinds <= {bytes} or kinds <= {int}:
            label = np.array(label.tolist())
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    if label.ndim == 1 and label.dtype.kind in "SU":
        found = texts(label)
        names = tuple(names) or tuple(ordered(list(set(found))))
        of = {text: i for i, text in enumerate(names)}
        if unknown := sorted(set(found) - of.keys()):
            raise UserError(f"{name} has a label {unknown[0]!r}, which is none of its classes {' '.join(names[:5])}; add it.")
        return np.array([of[text] for text in found], np.int64), names
    if label.ndim in (1, 2) and label.dtype.kind in "biuf" and np.isfinite(label).all() and (label == np.round(label)).all():
        if label.ndim == 2 and ((label == 0) | (label == 1)).all() and (label.sum(1) == 1).all():
            label = label.argmax(1)
        if label.ndim == 1:
            if names and not 0 <= label.min() <= label.max() < len(names):
                raise UserError(
                    f"{name} has labels from {label.min()} to {label.max()}, and {len(names)} names of classes; give them all."
                )
            return (label if label.dtype.kind in "iu" else label.astype(np.int64)), tuple(names)
    raise UserError(
        f"{name} has labels {label.dtype} of shape {list(label.shape)}, which name no class each; give the number or the name "
        "of one class an example, [n], or one-hot rows, [n, k]."
    )


def texts(label: np.ndarray) -> list[str]:
    """An array of text or bytes as a list of text."""
    return [value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for value in label.tolist()]
