"""Names of datasets: each means a prepared TFDS set, one of our own builders, a folder of images, or a file of arrays."""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxgen.data import decode, files
from jaxgen.data.files import expanded
from jaxgen.data.folder import from_folder, scan
from jaxgen.data.source import Source
from jaxgen.data.tfds_prepare import known
from jaxgen.data.tfds_source import from_tfds
from jaxgen.errors import UserError


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


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:10])}{' ...' if names[10:] else ''}"
