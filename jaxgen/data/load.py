"""Datasets by name: any prepared TFDS set, our own builders, a folder of images, or a file of arrays."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen import logs
from jaxgen.data import decode, files
from jaxgen.data.cache import cached, cached_bytes
from jaxgen.data.files import expanded
from jaxgen.data.folder import from_folder, scan
from jaxgen.data.source import Source, noted, reading
from jaxgen.data.stand_in import DataError, stand_in
from jaxgen.data.tfds_prepare import known
from jaxgen.data.tfds_source import from_tfds
from jaxgen.data.views import in_bytes, map_examples
from jaxgen.errors import UserError


def load(
    dataset: str,
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
        the name of a dataset is `./mnist`.
      split: the split: `train`, `test`, or anything that TFDS understands (`train[:90%]`).
      data_dir: the folder of the prepared sets; None means `$TFDS_DATA_DIR`, or TFDS's default.
      cache_budget: GiB that a split's cache may take; 0 streams everything.
      example_map: a deterministic function on the host, `{feature: value} -> {feature: value}` for one example, before caching.
      example_map_name: a text that says what `example_map` does; a cache made under another name is not used.

    Returns:
      The source, whose images are bytes: floats in [0, 1] become the nearest of 256 levels, 16 bits the upper eight.

    Raises:
      UserError: if the dataset or the split does not exist, the set is not prepared and cannot be here, or its images are
        neither bytes nor such as become bytes.
    """
    source = stand_in(split)
    if source is None:
        try:
            with reading():  # what it is made of does not count beside the whole
                source = opened(dataset, split, data_dir)
                if example_map is not None:
                    source = map_examples(source, example_map, name=example_map_name)
                source = _cached_within(in_bytes(_flat(source, dataset)), cache_budget)
        except UserError as error:
            raise DataError(str(error)) from error
    return noted(source, dataset, split)


def place(dataset: str, data_dir: str | None = None) -> str:
    """The absolute path of a dataset that is a folder or a file, and the name of any other as it is."""
    path = expanded(dataset)
    return os.path.abspath(path) if _is_folder(dataset, data_dir) or _is_file(path) else dataset


def opened(dataset: str, split: str, data_dir: str | None = None) -> Source:
    """One split of a dataset as it lies there: not looked at, and not cached."""
    if not dataset.strip():
        raise UserError("The dataset has an empty name; name a set of `jaxgen data list`, a folder or an .npz file.")
    path = expanded(dataset)
    if _is_folder(dataset, data_dir):
        return _folder(dataset, split)
    if _is_file(path):
        return files.from_file(path, split)
    if path.suffix.lower() in files.SUFFIXES:
        raise UserError(f"There is no file {dataset}; check the path.")
    if path.is_file():
        raise UserError(
            f"{dataset} is no dataset: it is a file; give a folder with the subfolders train and test, or an .npz file with "
            "train_image and test_image."
        )
    if dataset.startswith((".", "/", "~")):
        raise UserError(f"There is no folder {dataset}; check the path.")
    return from_tfds(dataset, split, data_dir)


def _folder(dataset: str, split: str) -> Source:
    root = expanded(dataset)
    folder = root / split
    if not folder.is_dir():
        there = sorted(decode.shown(p.name) for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        splits = [name for name in there if scan(root / name).pictures] if "train" in there or "test" in there else []
        mend = ""
        if split in ("train", "test") and scan(root).pictures:
            cut = f"--train {splits[0]} --split 0.9" if splits else "--split 0.9"
            mend = f"; `jaxgen data convert {dataset} OUT.npz {cut}` cuts its pictures in two"
        raise UserError(
            f"The folder {dataset} has no subfolder {split!r} to take that split from; it has {_listed(there) or 'none'}{mend}."
        )
    return from_folder(folder)


def _is_folder(dataset: str, data_dir: str | None) -> bool:
    # Someone may well stand in a folder that holds the folders of prepared sets.
    bare = Path(dataset).name == dataset
    return expanded(dataset).is_dir() and not (bare and dataset in known(data_dir))


def _is_file(path: Path) -> bool:
    return path.suffix.lower() in files.SUFFIXES and path.is_file()


def _flat(source: Source, dataset: str) -> Source:
    """The source, unless it has features that no batch can hold."""
    odd = [feature for feature, a in source.gather(np.zeros(1, np.int64)).items() if a.dtype.kind == "O"]
    if odd:
        raise UserError(
            f"{source.name} has features that nest or vary in length ({', '.join(odd)}), which cannot form a batch; "
            f"`jaxgen data convert {dataset} OUT.npz` takes its image and label alone, and in Python give load() an "
            "`example_map` that drops them."
        )
    return source


def _cached_within(source: Source, cache_budget: float) -> Source:
    need = cached_bytes(source) if cache_budget > 0 else None
    if need is None or need > cache_budget * 2**30:
        return source
    return cached(source, track=lambda chunks, description: logs.track(chunks, description=description))


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:10])}{' ...' if names[10:] else ''}"
