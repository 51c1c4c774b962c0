"""The splits of a dataset: a share that is held out by a seed, and a validation split that is cut from training.

An experiment asks for `data.load(dataset, "train")` and `data.load(dataset, "test")`. Whether a part of the training examples
is held out for validation is decided here, for all experiments.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxgen import keys
from jaxgen.data.source import Source
from jaxgen.data.views import part, take
from jaxgen.errors import UserError


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
          The examples that stay, and the examples that are held out.

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
"""The test split of a source that comes alone: a tenth, by seed 0."""


Open: TypeAlias = Callable[[str], Source]
"""A function that opens a split of a dataset by the split's name."""


def load(opened: Open, split: str, *, key: Hashable) -> Source:
    """A split of a dataset; within `validating` the training examples are cut in two.

    Args:
      opened: the function that opens a split.
      split: the split's name.
      key: a value that identifies the dataset; each of its splits is opened, and put on record, once.
    """
    validated = _VALIDATED.get()
    return opened(split) if validated is None else validated.load(opened, split, key)


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
      held_out: the part of the training examples that is held out.
      in_place_of_test: whether `load` gives the validation examples to those who ask for the test split.
      used: whether anything asked for the training examples.
    """

    def __init__(self, held_out: HeldOut) -> None:
        self.held_out, self.in_place_of_test, self.used = held_out, False, False
        self._whole: dict[tuple[Any, ...], Source] = {}  # each is opened, and put on record, once

    def load(self, opened: Open, split: str, key: Hashable) -> Source:
        """A split, with the training examples cut in two."""

        def whole(split: str) -> Source:
            if (key, split) not in self._whole:
                self._whole[key, split] = opened(split)
            return self._whole[key, split]

        if split == "train":
            self.used = True
            return self.held_out.cut(whole("train"))[0]
        if split.startswith("train["):
            raise UserError(f"--validation cuts the split train, and this experiment reads {split}; leave --validation out.")
        found = re.fullmatch(r"test(\[:(\d+)\])?", split)
        if not self.in_place_of_test or found is None:
            return whole(split)
        held_out = self.held_out.cut(whole("train"))[1]
        return held_out if found[2] is None else part(held_out, 0, int(found[2]))


_VALIDATED: ContextVar[Validated | None] = ContextVar("a part of training is held out", default=None)


def _part(source: Source, indices: np.ndarray, name: str) -> Source:
    found = take(source, indices)
    # Of a set that was prepared once more the files differ and the examples do not.
    digest = source.digest and hashlib.sha256(f"{source.digest} {indices.tobytes().hex()}".encode()).hexdigest()[:32]
    return found._replace(name=name, digest=digest)
