"""Sources made of another source: some of its examples, or each of them mapped on the host."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from jaxgen.data import pixels
from jaxgen.data.source import Source, digest, stack
from jaxgen.errors import UserError

K = TypeVar("K")


def take(source: Source, indices: np.ndarray) -> Source:
    """The examples of a source with these numbers, in this order.

    Args:
      source: the source that the examples come from.
      indices: the numbers of the examples, `[n]`.

    Returns:
      A source of n examples.

    >>> from jaxgen.data import from_arrays
    >>> source = from_arrays({"label": np.array([7, 8, 9])})
    >>> take(source, np.array([2, 0])).gather(np.array([0, 1]))["label"].tolist()
    [9, 7]
    """
    mark = hashlib.sha256(f"{source.fingerprint} {digest({'indices': indices}, 16)}".encode()).hexdigest()[:16]

    def gather(own: np.ndarray) -> dict[str, np.ndarray]:
        return source.gather(indices[own])

    return source._replace(fingerprint=mark, length=len(indices), gather=gather, digest=None)


def part(source: Source, start: int, stop: int | None = None) -> Source:
    """The examples of a source from one number to another: what is held out for validation, or what is left for training.

    Args:
      source: the source that the examples come from.
      start: the number of the first example; counted from the end if it is negative.
      stop: the number after the last example, as in a slice; None takes all that follow.

    Returns:
      A source of these examples, in their order. Its name says which they are.

    Raises:
      UserError: if no example is left.

    >>> from jaxgen.data import from_arrays
    >>> source = from_arrays({"label": np.arange(6)}, name="numbers")
    >>> held_out = part(source, -2)
    >>> held_out.name, held_out.gather(np.arange(2))["label"].tolist()
    ('numbers[4:6]', [4, 5])
    """
    first, last, _ = slice(start, stop).indices(source.length)
    if first >= last:
        raise UserError(f"{source.name} has {source.length:,} examples, so that none is left from {first:,} to {last:,}.")
    return take(source, np.arange(first, last))._replace(name=f"{source.name}[{first}:{last}]")


def map_examples(source: Source, fn: Callable[[dict[str, Any]], dict[str, Any]], *, name: str) -> Source:
    """A source whose examples went through `fn` on the host (resizing, tokenising), one at a time.

    Args:
      source: the source that the examples come from.
      fn: a deterministic function `{feature: value} -> {feature: value}` of one example.
      name: a text that says what `fn` does and with which numbers; it becomes part of the fingerprint, as do a few of the
        mapped examples.

    Returns:
      The source of mapped examples.

    Raises:
      UserError: if the mapped examples differ in shape.
    """
    name = f"{source.name} | {name}"

    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
        return stack([fn({f: v[0] for f, v in source.gather(np.array([i])).items()}) for i in indices], name)

    # A name is soon forgotten when `fn` is edited: what it makes of some examples tells.
    some = digest(gather(np.linspace(0, source.length - 1, min(source.length, 8)).astype(np.int64)), 16)
    mark = hashlib.sha256(f"{source.fingerprint} {name} {some}".encode()).hexdigest()[:16]
    return source._replace(name=name, fingerprint=mark, gather=gather, digest=None)


def showing(source: Source, feature: str) -> Source:
    """The source whose `image` is another of its features: of a set of pairs the images of one domain.

    Args:
      source: the source.
      feature: the feature that becomes the image.

    Returns:
      The source, or itself if the feature is the image.

    >>> from jaxgen.data import from_arrays
    >>> pairs = from_arrays({"image": np.zeros((2, 4, 4, 3), np.uint8), "drawing": np.ones((2, 4, 4, 1), np.uint8)})
    >>> showing(pairs, "drawing").gather(np.arange(1))["image"].ravel()[:3].tolist()
    [1, 1, 1]
    """
    if feature == "image":
        return source

    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = source.gather(indices)
        return {**rows, "image": rows[feature]}

    mark = hashlib.sha256(f"{source.fingerprint} {feature} as image".encode()).hexdigest()[:16]
    return source._replace(fingerprint=mark, gather=gather, digest=None)


def in_colour(source: Source, *, feature: str = "image") -> Source:
    """The source with three channels: grey images have the same in each. Images of three channels stay as they are.

    Args:
      source: the source.
      feature: the feature that has the images.

    Returns:
      The source, or itself if its images are in colour already.

    >>> from jaxgen.data import from_arrays
    >>> grey = from_arrays({"image": np.full((1, 1, 1, 1), 7, np.uint8)})
    >>> in_colour(grey).gather(np.arange(1))["image"].tolist()
    [[[[7, 7, 7]]]]
    """
    if source.shape(feature)[-1] != 1:
        return source

    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = source.gather(indices)
        return {**rows, feature: np.repeat(rows[feature], 3, axis=-1)}

    mark = hashlib.sha256(f"{source.fingerprint} {feature} in colour".encode()).hexdigest()[:16]
    return source._replace(fingerprint=mark, gather=gather, digest=None)


def in_colour_together(sources: Mapping[K, Source], *, feature: str = "image") -> dict[K, Source]:
    """Sources that one network takes: all of them in colour if one of them is.

    Args:
      sources: the sources by name.
      feature: the feature that has the images.

    Returns:
      The sources, or themselves if their images are all grey or all in colour.

    >>> from jaxgen.data import from_arrays
    >>> grey, colour = (from_arrays({"image": np.zeros((1, 2, 2, c), np.uint8)}) for c in (1, 3))
    >>> [source.shape("image") for source in in_colour_together({"a": grey, "b": colour}).values()]
    [(2, 2, 3), (2, 2, 3)]
    """
    channels = {source.shape(feature)[-1] for source in sources.values()}
    return {name: in_colour(source, feature=feature) if len(channels) > 1 else source for name, source in sources.items()}


def stacked(source: Source, length: int, *, seed: int = 0) -> Source:
    """Colour images whose three channels are grey images of a set, drawn independently: stacked MNIST of MNIST.

    Args:
      source: the grey images; of their other features none is left.
      length: the number of stacks.
      seed: the seed of the draws.

    Returns:
      The source of stacks: `image` `[n, H, W, 3]`, and `drawn` `[n, 3]`, the numbers of the images in it.

    Raises:
      UserError: if the images are not grey.

    Source: Metz et al. 2017 (unrolled GANs); Srivastava et al. 2017 (VEEGAN), section 5.2.

    >>> from jaxgen.data import from_arrays
    >>> grey = from_arrays({"image": np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)})
    >>> stacks = stacked(grey, 2).gather(np.arange(2))
    >>> stacks["image"].reshape(2, 3).tolist(), stacks["drawn"].tolist()
    ([[2, 1, 1], [0, 0, 0]], [[2, 1, 1], [0, 0, 0]])
    """
    shape = source.shape("image")
    if shape[-1] != 1:
        raise UserError(f"Stacks are made of grey images; those of {source.name} have {shape[-1]} channels.")
    drawn = np.random.default_rng(seed).integers(source.length, size=(length, 3))
    name = f"{length:,} stacks of {source.name}"

    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
        images = source.gather(drawn[indices].reshape(-1))["image"].reshape(len(indices), 3, *shape[:2])
        return {"image": np.moveaxis(images, 1, -1), "drawn": drawn[indices]}

    mark = hashlib.sha256(f"{source.fingerprint} {length} stacks by {seed}".encode()).hexdigest()[:16]
    return Source(name, mark, length, gather)


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
