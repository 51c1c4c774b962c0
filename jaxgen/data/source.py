"""Sources of examples: a length and a function that gathers a batch of examples by index."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxgen.data import labels, pixels
from jaxgen.errors import UserError
from jaxgen.reduction import Moments, together


class Examples(Protocol):
    """A random-access sequence of examples, as TFDS's data sources are."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Mapping[str, Any]: ...


class Source(NamedTuple):
    """Examples by index.

    Fields:
      name: the name of the set, for messages, such as `mnist/3.0.1 train`.
      fingerprint: a hash that changes when the examples do; a resumed run compares it.
      length: number of examples N.
      gather: the function `gather(indices [n]) -> {feature: array [n, ...]}`, whole batches at once. By convention `image` is
        `[n, H, W, C]`, bytes or floats in [0, 1], and `label` a class's number `[n]`.
      classes: the names of a label feature's values, by feature.
      digest: a hash of all examples as they are gathered, independent of their files; None where nobody has read them all.
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
      source: the source that was opened.
      dataset: the name, the place or the sources that `load` was asked for; None of a source that was made otherwise.
      split: the split that was asked for; None of a source that was made otherwise.
    """

    source: Source
    dataset: Any = None
    split: str | None = None


_READ: ContextVar[list[Opened] | None] = ContextVar("sources that were opened", default=None)


@contextmanager
def recording_opened() -> Iterator[list[Opened]]:
    """Gathers the sources that are opened within: what a run records of all the data that it reads."""
    opened: list[Opened] = []
    token = _READ.set(opened)
    try:
        yield opened
    finally:
        _READ.reset(token)


def record_opened(source: Source, dataset: Any = None, split: str | None = None) -> Source:
    """The source, which `recording_opened` has heard of."""
    opened = _READ.get()
    if opened is not None:
        opened.append(Opened(source, dataset, split))
    return source


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    *,
    name: str = "arrays",
    fingerprint: str | None = None,
    classes: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
) -> Source:
    """A source over arrays in memory or memory-mapped, whose first axes count the examples.

    Args:
      arrays: the arrays, `{feature: [N, ...]}`. An `image` holds bytes or floats in [0, 1], `[N, H, W, C]`; truth values become
        the bytes 0 and 255. A `label` of text becomes numbers, and its values the names of the classes.
      name: the name of the set, for messages.
      fingerprint: a hash of the examples; None computes it from their bytes.
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
        fingerprint = digest(arrays, 16)
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
    return record_opened(over(arrays, name=name, fingerprint=fingerprint, classes=named))


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
      name: the name of the set, for messages.
      fingerprint: a hash that changes when the examples do.
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
        stacked = stack(rows, name)
        return {feature: a[inverse] for feature, a in stacked.items()}

    return record_opened(Source(name, fingerprint, len(examples), gather, classes or {}))


def mean(feature: str, source: Source, *, batch_size: int = 1000) -> np.ndarray:
    """The mean of a feature over all examples of a source, in float64.

    Args:
      feature: the name of the feature, such as "image".
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


def variance(feature: str, source: Source, *, batch_size: int = 1000) -> float:
    r"""The variance of a feature's intensities over all examples, pixels and channels together, in float64.

    $\frac 1 N \sum_i (x_i - \bar x)^2$ with one mean $\bar x$ for all N numbers. Bytes are divided by 255, as `scale` does.

    Args:
      feature: the name of the feature, such as "image".
      source: a set; it is read once, whole.
      batch_size: examples that are read at a time.

    Returns:
      The variance; zero where all numbers are equal.

    >>> variance("image", from_arrays({"image": np.array([[0, 255], [255, 0]], np.uint8)}))
    0.25
    """
    total = Moments(0, 0.0, 0.0)
    for start in range(0, source.length, batch_size):
        x = source.gather(np.arange(start, min(start + batch_size, source.length)))[feature]
        x = x / (255.0 if x.dtype == np.uint8 else 1.0)
        center = x.mean(dtype=np.float64)
        total = together(total, Moments(x.size, center, ((x - center) ** 2).sum(dtype=np.float64)))
    return float(total.squares / total.count)


def contents(source: Source, *, most: int = 256) -> str:
    """A hash of the examples themselves, which does not depend on their files.

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
    return digest({"": np.array(source.length), **told}, 16)


def digest(arrays: Mapping[str, np.ndarray], digits: int = 32) -> str:
    """A hash of all examples: SHA-256 over every array with its name, dtype and shape.

    Args:
      arrays: the arrays, `{feature: [N, ...]}`.
      digits: the number of hexadecimal digits, up to 64.

    Returns:
      The hash.
    """
    hasher = hashlib.sha256()
    for feature, a in sorted(arrays.items()):
        hasher.update(f"{feature}{a.dtype}{a.shape}".encode())
        hasher.update(repr(a.tolist()).encode() if a.dtype.kind == "O" else np.ascontiguousarray(a).data)
    return hasher.hexdigest()[:digits]


def stack(rows: list[Any], name: str) -> dict[str, np.ndarray]:
    """Examples `{feature: value}` as one batch `{feature: [n, ...]}`.

    Raises:
      UserError: if the examples differ in shape.
    """
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
