"""One split of a dataset of any kind: by its name, by the place of its files, or as sources in Python."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxgen import progress
from jaxgen.data import by_name, splits
from jaxgen.data.cache import cached, cached_bytes
from jaxgen.data.source import Source, record_opened, recording_opened
from jaxgen.data.stand_in import DataError, stand_in
from jaxgen.data.views import in_bytes, map_examples, part
from jaxgen.errors import UserError

ExampleMap: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""A deterministic function on the host from one example to one example, `{feature: value}`."""

Given: TypeAlias = Source | tuple[Source, Source]
"""A dataset that is a value in Python: the training examples, or a pair of the training and the test examples.

Of one source a tenth is set aside as the test split (`TEST`)."""


class Location(NamedTuple):
    """The folder of the prepared sets and the size of their cache, as `load` takes them."""

    data_dir: str | None = None
    cache_budget: float = 4.0


_WHERE: ContextVar[Location | None] = ContextVar("where prepared sets lie", default=None)


@contextmanager
def located(**where: Any) -> Iterator[None]:
    """While the context lasts, `load` looks for prepared sets in a folder and caches within a budget.

    Args:
      **where: fields of `Location`, for calls of `load` that are not given others; what is left out stays as it was.
    """
    token = _WHERE.set((_WHERE.get() or Location())._replace(**where))
    try:
        yield
    finally:
        _WHERE.reset(token)


def load(
    dataset: str | Given,
    split: str,
    *,
    data_dir: str | None = None,
    cache_budget: float | None = None,
    example_map: ExampleMap | None = None,
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
      data_dir: the folder of the prepared sets; None means that of `located`, else `$TFDS_DATA_DIR`, or TFDS's default.
      cache_budget: GiB that a split's cache may take; 0 streams everything. None means that of `located`, else 4.
      example_map: deterministic host-side `{feature: value} -> {feature: value}` for one example, before caching.
      example_map_name: the name of what `example_map` does; a cache made under another name is not used.

    Returns:
      The source, whose images are bytes: floats in [0, 1] become the nearest of 256 levels, 16 bits the upper eight.

    Raises:
      UserError: if the dataset or the split does not exist, the set is not prepared and cannot be here, or its images are
        neither bytes nor numbers that can become bytes.

    >>> from jaxgen.data.source import from_arrays
    >>> mine = from_arrays({"image": np.zeros((50, 8, 8, 1), np.uint8)})
    >>> load(mine, "train").length, load(mine, "test").length
    (45, 5)
    """
    where = _WHERE.get() or Location()
    folder = where.data_dir if data_dir is None else data_dir
    budget = where.cache_budget if cache_budget is None else cache_budget

    def opened(split: str) -> Source:
        source = stand_in(split)
        if source is None:
            try:
                with recording_opened():  # what it is made of does not count beside the whole
                    source = _ready(_found(dataset, split, folder), dataset, budget, example_map, example_map_name)
            except UserError as error:
                raise DataError(str(error)) from error
        return record_opened(source, dataset, split)

    which = dataset if isinstance(dataset, str) else id(dataset)
    return splits.load(opened, split, key=(which, folder, budget, example_map_name))


def train_and_test(
    dataset: str | Given, *, data_dir: str | None = None, cache_budget: float | None = None
) -> tuple[Source, Source]:
    """The splits `train` and `test` of a dataset, each as `load` gives it.

    Args:
      dataset: the dataset, as in `load`.
      data_dir: the folder of the prepared sets, as in `load`.
      cache_budget: GiB that each split's cache may take, as in `load`.

    Returns:
      The training and the test examples.
    """
    train, test = (load(dataset, split, data_dir=data_dir, cache_budget=cache_budget) for split in ("train", "test"))
    return train, test


def _found(dataset: str | Given, split: str, data_dir: str | None) -> Source:
    """A split as it lies there: not looked at, and not cached."""
    return by_name.opened(dataset, split, data_dir) if isinstance(dataset, str) else _given(dataset, split)


def _ready(
    source: Source, dataset: str | Given, cache_budget: float, example_map: ExampleMap | None, example_map_name: str
) -> Source:
    """The split with mapped examples whose images are bytes, cached if that serves."""
    if example_map is not None:
        source = map_examples(source, example_map, name=example_map_name)
    source = in_bytes(_flat(source, dataset))
    in_memory = not isinstance(dataset, str) and example_map is None
    return source if in_memory else _cached_within(source, cache_budget)


def _given(dataset: Given, split: str) -> Source:
    train, test = splits.TEST.cut(dataset) if isinstance(dataset, Source) else dataset
    found = re.fullmatch(r"(train|test)(\[:(\d+)\])?", split)
    if found is None:
        raise UserError(f"Sources that are given in Python have the splits train and test, and no {split!r}.")
    source = train if found[1] == "train" else test
    return source if found[3] is None else part(source, 0, int(found[3]))


def _flat(source: Source, dataset: str | Given) -> Source:
    """The source, unless it has features that no batch can hold."""
    odd = [feature for feature, a in source.gather(np.zeros(1, np.int64)).items() if a.dtype.kind == "O"]
    if odd:
        convert = f"`jaxgen data convert {dataset} OUT.npz` takes its image and label alone, and " * isinstance(dataset, str)
        raise UserError(
            f"{source.name} has features that nest or vary in length ({', '.join(odd)}), which cannot form a batch; "
            f"{convert}in Python give load() an `example_map` that drops them."
        )
    return source


def _cached_within(source: Source, cache_budget: float) -> Source:
    need = cached_bytes(source) if cache_budget > 0 else None
    if need is None or need > cache_budget * 2**30:
        return source
    return cached(source, track=lambda chunks, description: progress.track(chunks, description=description))
