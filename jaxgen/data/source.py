"""Where examples come from: a length and a way to gather a batch of them by index."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxgen.data import labels, pixels
from jaxgen.errors import UserError

LOOKED_AT = 1024
"""Examples whose labels are looked at before a set is used: reading all of them may take hours."""


class Examples(Protocol):
    """A random-access sequence of examples, as TFDS's data sources are."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Mapping[str, Any]: ...


class Source(NamedTuple):
    """Examples by index.

    Fields:
      name: for messages, `mnist/3.0.1 train`.
      fingerprint: changes when the examples do; a resumed run compares it.
      length: number of examples N.
      gather: `gather(indices [n]) -> {feature: array [n, ...]}`, whole batches at once. By convention `image` is
        `[n, H, W, C]`, bytes or floats in [0, 1], and `label` a class's number `[n]`.
      classes: the names of a label feature's values, by feature.
      digest: a hash of every example as it is gathered, in whatever files it lies; None where nothing has read them all.
    """

    name: str
    fingerprint: str
    length: int
    gather: Callable[[np.ndarray], dict[str, np.ndarray]]
    classes: Mapping[str, tuple[str, ...]] = {}
    digest: str | None = None

    def shape(self, feature: str) -> tuple[int, ...]:
        """The shape of one example's feature, such as (28, 28, 1) of `image`."""
        example = self.gather(np.zeros(1, np.int64))
        if feature not in example:
            raise UserError(f"{self.name} has no feature {feature!r}; it has {', '.join(sorted(example))}.")
        return example[feature].shape[1:]


class Opened(NamedTuple):
    """A source that something opened.

    Fields:
      source: what was opened.
      dataset: the name, the place or the sources that `load` was asked for; None of a source that was made otherwise.
      split: the split that was asked for, likewise.
    """

    source: Source
    dataset: Any = None
    split: str | None = None


_READ: ContextVar[list[Opened] | None] = ContextVar("sources that were opened", default=None)


@contextmanager
def reading() -> Iterator[list[Opened]]:
    """Gathers the sources that are opened within: what a run records of all the data that it reads."""
    opened: list[Opened] = []
    token = _READ.set(opened)
    try:
        yield opened
    finally:
        _READ.reset(token)


def noted(source: Source, dataset: Any = None, split: str | None = None) -> Source:
    """The source, which `reading` has heard of."""
    opened = _READ.get()
    if opened is not None:
        opened.append(Opened(source, dataset, split))
    return source


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
                f"{name} has no classes of a feature {feature!r}; take a set that has, or a model that needs none. "
                "(In Python, `data.from_arrays(..., classes=(...))` names them.)"
            )
    (first, one), *others = named
    for name, other in others:
        if one != other:
            told = f"{first} has {_some(one)}, {name} has {_some(other)}{_difference(first, one, name, other)}"
            raise UserError(f"A {feature} means different things: {told}; give all splits the same classes.")
    for source in sources:
        check_labels(feature, source, len(classes[0]))
    return classes[0]


def check_labels(feature: str, source: Source, classes: int) -> None:
    """Refuses a set of whose labels one is no class 0, ..., classes - 1: used as an index, -1 would be the last class.

    Args:
      feature: the label.
      source: the set, of which `LOOKED_AT` examples are read, evenly spaced.
      classes: how many there are.

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


def same_classes(feature: str, a: Source, b: Source) -> None:
    """Refuses two sets whose labels cannot be held against each other, because they are not known to mean the same.

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


def _some(names: tuple[str, ...]) -> str:
    return f"{' '.join(names[:5])}{' ...' if names[5:] else ''}"


def _difference(first: str, one: tuple[str, ...], name: str, other: tuple[str, ...]) -> str:
    """Which classes are in one of two sets only, where the first five do not show it."""
    if len(one) <= 5 and len(other) <= 5:
        return ""
    only = [
        f"only {of} has {_some(tuple(c for c in mine if c not in theirs))}"
        for of, mine, theirs in ((first, one, other), (name, other, one))
        if set(mine) - set(theirs)
    ]
    return f" ({', '.join(only) or 'the same in another order'})"


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    *,
    name: str = "arrays",
    fingerprint: str | None = None,
    classes: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
) -> Source:
    """A source over arrays in memory or memory-mapped, whose first axes count the examples.

    Args:
      arrays: `{feature: [N, ...]}`. An `image` holds bytes or floats in [0, 1], `[N, H, W, C]`; truth values become the bytes 0
        and 255. A `label` of text becomes numbers, and its values the names of the classes.
      name: for messages.
      fingerprint: computed from the bytes where it is None.
      classes: the names of the classes 0, 1, 2 ... of `label`; or of several label features, names by feature.

    Returns:
      The source.

    Raises:
      UserError: if there are no arrays, their lengths differ, an image holds other numbers, or a label is none of the classes.

    >>> source = from_arrays({"image": np.zeros((5, 8, 8, 1), np.uint8)})
    >>> source.length, source.shape("image")
    (5, (8, 8, 1))
    >>> from_arrays({"label": np.array([1, 0])}, classes=("cat", "dog")).classes
    {'label': ('cat', 'dog')}
    """
    arrays = {feature: np.asarray(a) for feature, a in arrays.items()}  # np.take refuses those of jax.numpy
    lengths = {feature: len(a) for feature, a in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise UserError(f"{name}: arrays need one common length above zero; got {lengths or 'no arrays'}.")
    if fingerprint is None:
        fingerprint = _hash(arrays)
    by_feature = classes if isinstance(classes, Mapping) else {"label": classes or ()}
    named = {feature: tuple(names) for feature, names in by_feature.items() if names}
    if unknown := sorted(named.keys() - arrays.keys()):
        raise UserError(f"{name} has names for the classes of {unknown[0]!r}, and no such array; it has {', '.join(arrays)}.")
    if "image" in arrays:
        arrays["image"] = pixels.checked(arrays["image"], f"The image of {name}")
    for feature in arrays.keys() & {"label", *named}:
        if arrays[feature].dtype.kind in "SUO" or (feature in named and arrays[feature].ndim > 1):
            arrays[feature], names = labels.numbered(arrays[feature], name, names=named.get(feature, ()))
            named[feature] = names
    return noted(over(arrays, name=name, fingerprint=fingerprint, classes=named))


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """A hash of all examples, 32 hexadecimal digits."""
    return _hash(arrays, 32)


def over(
    arrays: Mapping[str, np.ndarray],
    *,
    name: str,
    fingerprint: str,
    classes: Mapping[str, tuple[str, ...]],
    digest: str | None = None,
) -> Source:
    """A source over arrays that were looked at before."""

    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
        return {feature: np.take(a, indices, axis=0) for feature, a in arrays.items()}

    return Source(name, fingerprint, len(next(iter(arrays.values()))), gather, classes, digest)


def from_examples(
    examples: Examples,
    *,
    name: str,
    fingerprint: str,
    classes: Mapping[str, tuple[str, ...]] | None = None,
) -> Source:
    """A source over a random-access sequence of examples, decoded when they are asked for.

    Args:
      examples: anything with `len` and `[i]`, and faster with `__getitems__([i, ...])`, as TFDS's data sources are.
      name: for messages.
      fingerprint: changes when the examples do.
      classes: names of label values, by feature.

    Returns:
      The source, whose `gather` raises a `UserError` where a disk refuses to read.
    """
    many = getattr(examples, "__getitems__", None) or (lambda indices: [examples[i] for i in indices])

    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
        # array_record refuses an index twice in one read.
        unique, inverse = np.unique(indices, return_inverse=True)
        try:
            rows = list(many([int(i) for i in unique]))
        except OSError as error:
            if error.errno is None:  # not the system's: a decoder's, whose traceback says more
                raise
            reason = f"{error.strerror} {error.filename or ''}".strip()
            mend = "restore the dataset, and give the same command again."
            raise UserError(f"Reading {name} failed ({reason}): {mend}") from error
        stacked = _stack(rows, name)
        return {feature: a[inverse] for feature, a in stacked.items()}

    return noted(Source(name, fingerprint, len(examples), gather, classes or {}))


def contents(source: Source, *, most: int = 256) -> str:
    """A hash of the examples themselves: the same wherever and in whatever files they lie.

    A source's `fingerprint` is that of its files, and preparing a set once more may lay its records out otherwise.

    Args:
      source: a set.
      most: examples that are looked at, evenly spaced.

    Returns:
      16 hexadecimal digits.
    """
    some = np.linspace(0, source.length - 1, min(source.length, most)).astype(np.int64)
    found = source.gather(some)
    # A text is an object here and of a fixed width there.
    told = {f: a if a.dtype.kind in "biuf" else np.frombuffer(repr(a.tolist()).encode(), np.uint8) for f, a in found.items()}
    return _hash({"": np.array(source.length), **told})


def take(source: Source, indices: np.ndarray) -> Source:
    """The examples of a source with these numbers, in this order.

    Args:
      source: where they come from.
      indices: their numbers, `[n]`.

    Returns:
      A source of n examples.

    >>> source = from_arrays({"label": np.array([7, 8, 9])})
    >>> take(source, np.array([2, 0])).gather(np.array([0, 1]))["label"].tolist()
    [9, 7]
    """
    mark = hashlib.sha256(f"{source.fingerprint} {_hash({'indices': indices})}".encode()).hexdigest()[:16]

    def gather(own: np.ndarray) -> dict[str, np.ndarray]:
        return source.gather(indices[own])

    return source._replace(fingerprint=mark, length=len(indices), gather=gather, digest=None)


def part(source: Source, start: int, stop: int | None = None) -> Source:
    """The examples of a source from one number to another: what is held out for validation, or what is left for training.

    Args:
      source: where they come from.
      start: the number of the first example; counted from the end if it is negative.
      stop: the number after the last example, as in a slice; None takes all that follow.

    Returns:
      A source of these examples, in their order. Its name says which they are.

    Raises:
      UserError: if no example is left.

    >>> source = from_arrays({"label": np.arange(6)}, name="numbers")
    >>> held_out = part(source, -2)
    >>> held_out.name, held_out.gather(np.arange(2))["label"].tolist()
    ('numbers[4:6]', [4, 5])
    """
    first, last, _ = slice(start, stop).indices(source.length)
    if first >= last:
        raise UserError(f"{source.name} has {source.length:,} examples, so that none is left from {first:,} to {last:,}.")
    return take(source, np.arange(first, last))._replace(name=f"{source.name}[{first}:{last}]")


def mean(feature: str, source: Source, *, batch_size: int = 1000) -> np.ndarray:
    """The mean of a feature over all examples of a source, in float64.

    Args:
      feature: such as "image".
      source: a set; it is read once, whole.
      batch_size: examples that are read at a time.

    Returns:
      An array of the shape of one example's feature.

    >>> mean("image", from_arrays({"image": np.array([[0, 255], [255, 255], [255, 255]], np.uint8)})).tolist()
    [170.0, 255.0]
    """
    total = np.zeros(source.shape(feature))
    for start in range(0, source.length, batch_size):
        total += source.gather(np.arange(start, min(start + batch_size, source.length)))[feature].sum(0, dtype=np.float64)
    return total / source.length


def map_examples(source: Source, fn: Callable[[dict[str, Any]], dict[str, Any]], *, name: str) -> Source:
    """A source whose examples went through `fn` on the host (resizing, tokenising), one at a time.

    Args:
      source: where they come from.
      fn: `{feature: value} -> {feature: value}` for one example, deterministic.
      name: what `fn` does and with which numbers; it becomes part of the fingerprint, as do a few of the mapped examples.

    Returns:
      The source of mapped examples.

    Raises:
      UserError: if the mapped examples differ in shape.
    """
    name = f"{source.name} | {name}"

    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
        return _stack([fn({f: v[0] for f, v in source.gather(np.array([i])).items()}) for i in indices], name)

    # A name is soon forgotten when `fn` is edited: what it makes of some examples tells.
    some = _hash(gather(np.linspace(0, source.length - 1, min(source.length, 8)).astype(np.int64)))
    mark = hashlib.sha256(f"{source.fingerprint} {name} {some}".encode()).hexdigest()[:16]
    return source._replace(name=name, fingerprint=mark, gather=gather, digest=None)


def in_bytes(source: Source, *, feature: str = "image") -> Source:
    """The source with its images as bytes, `pixels.as_bytes`; itself where they are, or where it has none.

    Raises:
      UserError: if they cannot be brought to bytes, here or by `gather`.
    """
    found = source.gather(np.zeros(1, np.int64)).get(feature)
    if found is None or found.dtype == np.uint8:
        return source

    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = source.gather(indices)
        return {**rows, feature: pixels.as_bytes(rows[feature], f"The {feature} of {source.name}")}

    gather(np.zeros(1, np.int64))  # refuses here what it would refuse later
    mark = hashlib.sha256(f"{source.fingerprint} {feature} in bytes".encode()).hexdigest()[:16]
    return source._replace(fingerprint=mark, gather=gather, digest=None)


def _hash(arrays: Mapping[str, np.ndarray], digits: int = 16) -> str:
    digest = hashlib.sha256()
    for feature, a in sorted(arrays.items()):
        digest.update(f"{feature}{a.dtype}{a.shape}".encode())
        digest.update(repr(a.tolist()).encode() if a.dtype.kind == "O" else np.ascontiguousarray(a).data)
    return digest.hexdigest()[:digits]


def _stack(rows: list[Any], name: str) -> dict[str, np.ndarray]:
    try:
        return {feature: np.stack([np.asarray(row[feature]) for row in rows]) for feature in rows[0]}
    except ValueError:
        shapes = {feature: sorted({np.shape(row[feature]) for row in rows}) for feature in rows[0]}
        uneven = ", ".join(f"{f} {s[0]}, {s[1]}{' ...' if s[2:] else ''}" for f, s in shapes.items() if len(s) > 1)
        raise UserError(
            f"{name} has examples of different shapes ({uneven}), which cannot form a batch; "
            "`jaxgen data convert SET OUT.npz --size 64` brings them to one size, and in Python give load() an `example_map` "
            "such as data.resize(64)."
        ) from None
