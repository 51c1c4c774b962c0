"""One split of a prepared TFDS dataset as a source: its records by index, and a hash of its files."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgen import progress
from jaxgen.data import stamps
from jaxgen.data.source import Source, from_examples
from jaxgen.data.tfds_prepare import one_line, prepare
from jaxgen.data.views import map_examples
from jaxgen.errors import UserError


def from_tfds(dataset: str, split: str, data_dir: str | None = None) -> Source:
    """One split of a TFDS dataset, which is prepared if it is not yet.

    Args:
      dataset: a TFDS name, with a version and a configuration if wanted.
      split: the split's name, or a part of it as TFDS writes it (`train[:90%]`).
      data_dir: the folder of the prepared sets; None means `$TFDS_DATA_DIR`, or TFDS's default.

    Returns:
      The source, which decodes its examples as they are read.

    Raises:
      UserError: if there is no such dataset or split, or its files cannot be read by index.
    """
    builder = prepare(dataset, data_dir=data_dir)
    try:
        examples = builder.as_data_source(split=split)
    except (ValueError, KeyError, AssertionError):
        there = ", ".join(f"{name} of {info.num_examples:,} examples" for name, info in sorted(builder.info.splits.items()))
        mend = _other_splits(dataset, split, sorted(builder.info.splits))
        raise UserError(f"The dataset {dataset!r} has no split {split!r}; it has {there}{mend}.") from None
    except NotImplementedError:  # TFDS's word for a format without random access
        raise UserError(
            f"The dataset {dataset!r} in {builder.data_path} is prepared as {builder.info.file_format.value}, which cannot "
            f"be read by index; `jaxgen data prepare {dataset} --data-dir D` with another folder makes one that can."
        ) from None
    examples = _Records(examples, builder.info.full_name, builder.data_path)
    with progress.muted("absl"):  # TFDS recommends OpenCV, once a process; Pillow does as well
        examples[0]
    classes = {
        feature: tuple(spec.names)
        for feature, spec in builder.info.features.items()
        if isinstance(spec, tfds.features.ClassLabel)
    }
    fingerprint = _fingerprint(
        f"{builder.info.full_name} {split} {len(examples)}", [Path(p) for p in builder.info.splits[split].filepaths]
    )
    source = from_examples(examples, name=f"{builder.info.full_name} {split}", fingerprint=fingerprint, classes=classes)
    image = dict(builder.info.features.items()).get("image")
    wide = isinstance(image, tfds.features.Image) and np.dtype(image.np_dtype) == np.uint16
    return map_examples(source, _upper_bits, name="upper eight bits")._replace(name=source.name) if wide else source


def _upper_bits(example: dict[str, Any]) -> dict[str, Any]:
    """An image of 16 bits as a viewer shows it."""
    return {**example, "image": (example["image"] >> 8).astype(np.uint8)}


def _other_splits(dataset: str, split: str, there: Sequence[str]) -> str:
    """Advice for a set whose splits are not called train and test, as the end of a sentence."""
    if split not in ("train", "test") or not there:
        return ""
    train = "train" if "train" in there else there[0]
    test = "test" if "test" in there else next((name for name in there if name != train), None)
    how = f"--train {train} --test {test}" if test is not None else f"--train {train} --split 0.9"
    return f"; `jaxgen data convert {dataset} OUT.npz {how}` makes a set of both"


class _Records:
    """TFDS's examples; faults of their files are reported in a sentence."""

    def __init__(self, examples: Any, name: str, folder: Any) -> None:
        self._examples, self._name, self._folder = examples, name, folder

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, i: int) -> Mapping[str, Any]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Mapping[str, Any]]:
        try:
            return list(self._examples.__getitems__(list(indices)))
        except MemoryError:
            raise
        except Exception as error:  # of the file system, the records, their encoding or their pictures
            if "install OpenCV" in str(error):  # TFDS decodes pictures of 16 bits with it alone
                raise UserError(
                    f"The dataset {self._name} cannot be read without another package ({one_line(error).partition('. ')[0]}); "
                    "`pip install opencv-python-headless`."
                ) from None
            raise UserError(
                f"The dataset {self._name} in {self._folder} cannot be read ({one_line(error)}); restore its files, or "
                "delete them and prepare it again."
            ) from error


def _fingerprint(mark: str, paths: list[Path]) -> str:
    """A hash of the files, every byte of them: their sizes say nothing, since they are padded."""
    digest = hashlib.sha256(mark.encode())
    paths = sorted(paths)
    stats = [path.stat() for path in paths]
    block = 1 << 16
    if sum(found.st_size for found in stats) > 128 << 20:
        found = stamps.hashes(
            paths[0].parent,
            [(str(path), stamps.stamp(own)) for path, own in zip(paths, stats, strict=True)],
            track=lambda numbers, told: progress.track(numbers, description=told),
        )
        return hashlib.sha256(f"{mark} {found}".encode()).hexdigest()[:32]
    # Small sets are told as they always were, so that the runs on them still resume.
    most = max(1, (128 << 20) // (block * len(paths)))
    for path, own in zip(paths, stats, strict=True):
        digest.update(f"{path.name} {own.st_size}".encode())
        with path.open("rb") as file:
            for at in np.linspace(0, max(own.st_size - block, 0), min(-(-own.st_size // block), most)).astype(int):
                file.seek(at)
                digest.update(file.read(block))
    return digest.hexdigest()[:16]
