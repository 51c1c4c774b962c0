"""Where examples come from: a length and a way to gather a batch of them by index."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxgen.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


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
      gather: `gather(indices [n]) -> {feature: array [n, ...]}`, whole batches at once.
      classes: the names of a label feature's values, by feature.
    """

    name: str
    fingerprint: str
    length: int
    gather: Callable[[np.ndarray], dict[str, np.ndarray]]
    classes: Mapping[str, tuple[str, ...]] = {}

    def shape(self, feature: str) -> tuple[int, ...]:
        """The shape of one example's feature, such as (28, 28, 1) of `image`."""
        example = self.gather(np.zeros(1, np.int64))
        if feature not in example:
            raise UserError(f"{self.name} has no feature {feature!r}; it has {', '.join(sorted(example))}.")
        return example[feature].shape[1:]


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
      UserError: if a source has no classes, or other ones, or a label is none of them.
    """
    classes = [source.classes.get(feature, ()) for source in sources]
    named = [(source.name, found) for source, found in zip(sources, classes, strict=True)]
    for name, found in named:
        if not found:
            raise UserError(f"{name} has no classes of a feature {feature!r}; take a set that has, or a model that needs none.")
    if len(set(classes)) > 1:
        told = ", ".join(f"{name} has {' '.join(found[:5])}{' ...' if found[5:] else ''}" for name, found in named)
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
    labels = np.asarray(source.gather(rows)[feature])
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise UserError(
            f"The {feature} of {source.name} is {labels.dtype} {list(labels.shape[1:])}, not one whole number each."
        )
    if labels.min() < 0:
        raise UserError(
            f"The {feature}s of {source.name} are withheld: {(labels < 0).sum():,} of {len(labels):,} that were looked at are "
            f"{labels[labels < 0][0]}; take a split whose {feature}s are public."
        )
    if labels.max() >= classes:
        raise UserError(
            f"{source.name} has the {feature} {labels.max()}, and its classes are 0 to {classes - 1}; mend the set."
        )


def from_arrays(arrays: Mapping[str, np.ndarray], *, name: str = "arrays", fingerprint: str | None = None) -> Source:
    """A source over arrays in memory or memory-mapped, whose first axes count the examples.

    Args:
      arrays: `{feature: [N, ...]}`; images are uint8 `[N, H, W, C]` by convention.
      name: for messages.
      fingerprint: computed from the bytes where it is None.

    Returns:
      The source.

    Raises:
      UserError: if there are no arrays, or their lengths differ.

    >>> source = from_arrays({"image": np.zeros((5, 8, 8, 1), np.uint8)})
    >>> source.length, source.shape("image")
    (5, (8, 8, 1))
    """
    arrays = {feature: np.asarray(a) for feature, a in arrays.items()}  # np.take refuses those of jax.numpy
    lengths = {feature: len(a) for feature, a in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise UserError(f"{name}: arrays need one common length above zero; got {lengths or 'no arrays'}.")
    if fingerprint is None:
        fingerprint = _hash(arrays)

    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
        return {feature: np.take(a, indices, axis=0) for feature, a in arrays.items()}

    return Source(name, fingerprint, next(iter(lengths.values())), gather)


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

    return Source(name, fingerprint, len(examples), gather, classes or {})


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
    return source._replace(fingerprint=mark, length=len(indices), gather=lambda own: source.gather(indices[own]))


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
    return source._replace(name=name, fingerprint=mark, gather=gather)


def from_folder(folder: str | Path, *, size: int | None = None, grey: bool = False) -> Source:
    """A source over the images below a folder; the names of its subfolders, if any, are the labels.

    Args:
      folder: `folder/*.png` or `folder/CLASS/*.png` (also jpg, bmp, webp), in sorted order.
      size: side in pixels that the central square of every image is resized to; None keeps them as they are.
      grey: one channel instead of three.

    Returns:
      A source of `image` uint8 `[H, W, C]` and, with subfolders, `label`.

    Raises:
      UserError: if there is no image.
    """
    folder = Path(folder)
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir())
    if not paths:
        raise UserError(f"No image ({', '.join(IMAGE_SUFFIXES)}) lies below {folder}; check the path.")
    parents = sorted({p.parent.relative_to(folder).as_posix() for p in paths})
    labels = parents if len(parents) > 1 else []

    class Images:
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> dict[str, Any]:
            example: dict[str, Any] = {"image": _read(paths[i], size, grey)}
            if labels:
                example["label"] = labels.index(paths[i].parent.relative_to(folder).as_posix())
            return example

    try:
        stats = [(p.relative_to(folder).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    except OSError as error:  # a link to nothing
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); mend or remove it.") from None
    mark = hashlib.sha256(repr((stats, size, grey)).encode()).hexdigest()[:16]
    classes = {"label": tuple(labels)} if labels else {}
    return from_examples(Images(), name=str(folder), fingerprint=mark, classes=classes)


def _hash(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for feature, a in sorted(arrays.items()):
        digest.update(f"{feature}{a.dtype}{a.shape}".encode())
        digest.update(repr(a.tolist()).encode() if a.dtype.kind == "O" else np.ascontiguousarray(a).data)
    return digest.hexdigest()[:16]


def _stack(rows: list[Any], name: str) -> dict[str, np.ndarray]:
    try:
        return {feature: np.stack([np.asarray(row[feature]) for row in rows]) for feature in rows[0]}
    except ValueError:
        shapes = {feature: sorted({np.shape(row[feature]) for row in rows}) for feature in rows[0]}
        uneven = ", ".join(f"{f} {s[0]}, {s[1]}{' ...' if s[2:] else ''}" for f, s in shapes.items() if len(s) > 1)
        raise UserError(
            f"{name} has examples of different shapes ({uneven}), which cannot form a batch; "
            "give load() an `example_map` that brings them to one shape, such as data.resize(64)."
        ) from None


def _read(path: Path, size: int | None, grey: bool) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = file.convert("L" if grey else "RGB")
        if size is not None:
            image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        pixels = np.asarray(image, np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # all of them Pillow's word for torn
        raise UserError(f"{path} cannot be read as an image ({error}); mend or remove it.") from None
    return pixels[..., None] if grey else pixels
