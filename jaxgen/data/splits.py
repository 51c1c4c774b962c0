"""The splits of a dataset that an experiment reads: of a set by its name, of sources in Python, and one cut from training.

An experiment asks for `load(dataset, "train")` and `load(dataset, "test")`. What the dataset may be, and whether a part of the
training examples is held out for validation, is decided here, for all experiments.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxgen import keys
from jaxgen.data.cache import cached, cached_bytes
from jaxgen.data.load import load as load_by_name
from jaxgen.data.source import Source, noted, reading
from jaxgen.data.stand_in import stand_in
from jaxgen.data.views import in_bytes, map_examples, part, take
from jaxgen.errors import UserError

Given: TypeAlias = Source | tuple[Source, Source]
"""A dataset that is a value in Python: the training examples, or these and the test examples.

Of one source a tenth is set aside as the test split (`TEST`)."""


class HeldOut(NamedTuple):
    """A share of a set's examples that is held out, chosen by a seed.

    Fields:
      share: the share of the examples that is held out, above 0 and below 1.
      seed: the seed of the choice.
      purpose: the use of the held-out share, for messages.
    """

    share: float
    seed: int = 0
    purpose: str = "validation"

    def cut(self, source: Source) -> tuple[Source, Source]:
        """Cuts a set in two: the examples that stay, and those that are held out.

        The two have no example in common, and together they are the whole set. The choice is a function of the seed and of the
        number of examples. Classes are not balanced. Both parts keep the order of the set.

        Args:
          source: the set, of N examples; `round(share N)` of them are held out, and at least one.

        Returns:
          What stays, and what is held out.

        Raises:
          UserError: if one of the parts would be empty.

        >>> from jaxgen.data.source import from_arrays
        >>> kept, held_out = HeldOut(0.4).cut(from_arrays({"label": np.arange(5)}))
        >>> kept.length, held_out.length
        (3, 2)
        """
        n = max(round(self.share * source.length), 1)
        if n >= source.length:
            raise UserError(
                f"{source.name} has {source.length:,} examples, of which a share of {self.share} leaves none to train on; "
                "hold out fewer, or take a larger set."
            )
        order = np.random.Generator(np.random.Philox(key=[self.seed, keys.HELD_OUT])).permutation(source.length)
        told = f"{self.purpose} {self.share:g}, seed {self.seed}"
        kept = _part(source, np.sort(order[n:]), f"{source.name}[all but {told}]")
        return kept, _part(source, np.sort(order[:n]), f"{source.name}[{told}]")


TEST = HeldOut(0.1, 0, "test")
"""What is set aside of a source that comes alone: a tenth, by seed 0."""


def load(
    dataset: str | Given,
    split: str,
    *,
    data_dir: str | None = None,
    cache_budget: float = 4.0,
    example_map: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    example_map_name: str = "mapped",
) -> Source:
    """One split of a dataset, ready to gather batches from.

    What fits `cache_budget` is decoded once into a memory-mapped cache; what does not is decoded as it is read. Both give
    the same batches, bit for bit.

    Args:
      dataset: a TFDS name (`mnist`, `cifar10`, `emoji`, `digits`, `name:1.2.0` ...), the path of a folder with one subfolder of
        images a split, or of an `.npz` file with `train_image` and `test_image` (`jaxgen.data.files`); a folder that has
        the name of a dataset is `./mnist`. Or a source, or a pair of sources `(train, test)`, such as `from_arrays` makes.
      split: the split: `train`, `test`, or anything that TFDS understands (`train[:90%]`).
      data_dir: the folder of the prepared sets; None means `$TFDS_DATA_DIR`, or TFDS's default.
      cache_budget: GiB that a split's cache may take; 0 streams everything.
      example_map: deterministic host-side `{feature: value} -> {feature: value}` for one example, before caching.
      example_map_name: the name of what `example_map` does; a cache made under another name is not used.

    Returns:
      The source, whose images are bytes: floats in [0, 1] become the nearest of 256 levels, 16 bits the upper eight.

    Raises:
      UserError: if the dataset or the split does not exist, the set is not prepared and cannot be here, or its images are
        neither bytes nor such as become bytes.

    >>> from jaxgen.data.source import from_arrays
    >>> mine = from_arrays({"image": np.zeros((50, 8, 8, 1), np.uint8)})
    >>> load(mine, "train").length, load(mine, "test").length
    (45, 5)
    """
    options = {
        "data_dir": data_dir,
        "cache_budget": cache_budget,
        "example_map": example_map,
        "example_map_name": example_map_name,
    }
    validated = _VALIDATED.get()
    return _opened(dataset, split, options) if validated is None else validated.load(dataset, split, options)


@contextlib.contextmanager
def validating(held_out: HeldOut) -> Iterator["Validated"]:
    """While the context lasts, `load` holds out a part of the training examples."""
    validated = Validated(held_out)
    token = _VALIDATED.set(validated)
    try:
        yield validated
    finally:
        _VALIDATED.reset(token)


class Validated:
    """The splits that experiments read where a part of the training examples is held out for validation.

    Attributes:
      held_out: which part.
      in_place_of_test: whether `load` gives the validation examples to those who ask for the test split.
      used: whether anything asked for the training examples.
    """

    def __init__(self, held_out: HeldOut) -> None:
        self.held_out, self.in_place_of_test, self.used = held_out, False, False
        self._whole: dict[tuple[Any, ...], Source] = {}  # each is opened, and put on record, once

    def load(self, dataset: str | Given, split: str, options: dict[str, Any]) -> Source:
        """As `load`, with the training examples cut in two."""
        if split == "train":
            self.used = True
            return self.held_out.cut(self._open(dataset, "train", options))[0]
        if split.startswith("train["):
            raise UserError(f"--validation cuts the split train, and this experiment reads {split}; leave --validation out.")
        found = re.fullmatch(r"test(\[:(\d+)\])?", split)
        if not self.in_place_of_test or found is None:
            return self._open(dataset, split, options)
        held_out = self.held_out.cut(self._open(dataset, "train", options))[1]
        return held_out if found[2] is None else part(held_out, 0, int(found[2]))

    def _open(self, dataset: str | Given, split: str, options: dict[str, Any]) -> Source:
        which = dataset if isinstance(dataset, str) else id(dataset)
        key = (which, split, *(options[name] for name in ("data_dir", "cache_budget", "example_map_name")))
        if key not in self._whole:
            self._whole[key] = _opened(dataset, split, options)
        return self._whole[key]


_VALIDATED: ContextVar[Validated | None] = ContextVar("a part of training is held out", default=None)


def _opened(dataset: str | Given, split: str, options: dict[str, Any]) -> Source:
    """A split as it is, of whatever kind of dataset."""
    if isinstance(dataset, str):
        return load_by_name(dataset, split, **options)
    source = stand_in(split)
    if source is None:
        with reading():  # what it is made of does not count beside the whole
            source = _given(dataset, split, options)
    return noted(source, dataset, split)


def _given(dataset: Given, split: str, options: dict[str, Any]) -> Source:
    train, test = TEST.cut(dataset) if isinstance(dataset, Source) else dataset
    found = re.fullmatch(r"(train|test)(\[:(\d+)\])?", split)
    if found is None:
        raise UserError(f"Sources that are given in Python have the splits train and test, and no {split!r}.")
    source = train if found[1] == "train" else test
    source = source if found[3] is None else part(source, 0, int(found[3]))
    if options["example_map"] is None:
        return in_bytes(source)
    source = in_bytes(map_examples(source, options["example_map"], name=options["example_map_name"]))
    need = cached_bytes(source)
    return source if need is None or need > options["cache_budget"] * 2**30 else cached(source)


def _part(source: Source, indices: np.ndarray, name: str) -> Source:
    found = take(source, indices)
    # Of a set that was prepared once more the files differ and the examples do not.
    digest = source.digest and hashlib.sha256(f"{source.digest} {indices.tobytes().hex()}".encode()).hexdigest()[:32]
    return found._replace(name=name, digest=digest)
