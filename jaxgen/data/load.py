"""Datasets by name: any prepared TFDS set, our own builders, or a folder of images."""

import contextlib
import difflib
import hashlib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgen import logs
from jaxgen.data import builders
from jaxgen.data.cache import cached, cached_bytes
from jaxgen.data.opened import opened
from jaxgen.data.source import Source, from_examples, from_folder, map_examples
from jaxgen.errors import UserError

OWN = {
    "digits": builders.Digits,
    "captioned_digits": builders.CaptionedDigits,
    "gaussian_ring": builders.GaussianRing,
    "gaussian_grid": builders.GaussianGrid,
}


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
      dataset: a TFDS name (`mnist`, `cifar10`, `emoji`, `digits`, `name:1.2.0` ...), or the path of a folder with one
        subfolder of images a split; a folder that has the name of a dataset is `./mnist`.
      split: `train`, `test`, or anything that TFDS understands (`train[:90%]`).
      data_dir: where prepared sets lie; None means `$TFDS_DATA_DIR`, or TFDS's default.
      cache_budget: GiB that a split's cache may take; 0 streams everything.
      example_map: deterministic host-side `{feature: value} -> {feature: value}` for one example, before caching.
      example_map_name: says what `example_map` does; a cache made under another name is not used.

    Returns:
      The source.

    Raises:
      UserError: if the dataset or the split does not exist, or the set is not prepared and cannot be here.
    """
    how = (data_dir, cache_budget, example_map, example_map_name)
    return opened(dataset, split, lambda: _load(dataset, split, *how))


def _load(
    dataset: str,
    split: str,
    data_dir: str | None,
    cache_budget: float,
    example_map: Callable[[dict[str, Any]], dict[str, Any]] | None,
    example_map_name: str,
) -> Source:
    if _is_folder(dataset, data_dir):
        source = _folder(dataset, split)
    elif dataset.startswith((".", "/", "~")):
        raise UserError(f"There is no folder {dataset}; check the path.")
    else:
        source = _tfds(dataset, split, data_dir)
    if example_map is not None:
        source = map_examples(source, example_map, name=example_map_name)
    need = cached_bytes(source) if cache_budget > 0 else None
    if need is None or need > cache_budget * 2**30:
        return source
    return cached(source, track=lambda chunks, description: logs.track(chunks, description=description))


def prepare(dataset: str, *, data_dir: str | None = None) -> tfds.core.DatasetBuilder:
    """Makes a dataset readable: finds it prepared, or prepares it now.

    Our own builders need neither TensorFlow nor a network; TFDS's official ones download their raw files and need
    TensorFlow (`pip install "jaxgen[tf]"`).

    Args:
      dataset: a TFDS name.
      data_dir: as in `load`.

    Returns:
      The TFDS builder, prepared.

    Raises:
      UserError: if there is no such dataset, or it cannot be prepared here.
    """
    name = dataset.split(":")[0].split("/")[0]
    data_dir = str(_data_folder(data_dir))
    place = data_dir if Path(data_dir).is_dir() else f"{data_dir}, which does not exist"
    try:
        builder, prepared = _builder(dataset, data_dir)
    except tfds.core.DatasetNotFoundError:
        near = difflib.get_close_matches(dataset, _known(data_dir), n=3)
        hint = f" The nearest names are {', '.join(near)}." if near else ""
        raise UserError(
            f"There is no dataset {dataset!r}: it is no folder, it is not prepared in {place}, and TFDS does not know it.{hint}"
        ) from None
    except ImportError as error:
        raise UserError(
            f"The dataset {dataset!r} cannot be opened without another package ({_line(error)}); install it, TensorFlow "
            'by `pip install "jaxgen[tf]"`.'
        ) from None
    except Exception as error:
        # A version that does not exist, or a prepared folder that is damaged: TFDS's own message names what.
        reason = _line(error).partition(". ")[0].rstrip(".")
        raise UserError(
            f"The dataset {dataset!r} cannot be opened ({reason}); check its name, its version and its files."
        ) from None
    if prepared:
        return builder
    if name not in OWN and importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"The dataset {dataset!r} is not prepared in {place}, and preparing it needs TensorFlow: "
            'point --data-dir at a folder that has it, or `pip install "jaxgen[tf]"` and '
            f"`jaxgen data prepare {dataset}`."
        )
    logs.say(f"Preparing {dataset} in {builder.data_dir} ...")
    try:
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(None):  # a paragraph, said above in a line
            builder.download_and_prepare()
    except Exception as error:
        builder, prepared = _builder(dataset, data_dir)
        if not prepared:  # nor by another process meanwhile
            raise UserError(
                f"Preparing {dataset!r} in {data_dir} failed ({type(error).__name__}: {_line(error)}); "
                "check the network, and the free space and the permissions there."
            ) from error
    return builder


def names(data_dir: str | None = None) -> list[str]:
    """The datasets that can be read now: our own builders and what lies prepared in the data folder.

    Raises:
      UserError: if a folder is given that is not there.
    """
    folder = _data_folder(data_dir)
    if data_dir is not None and not folder.is_dir():
        raise UserError(f"There is no folder {data_dir}; check --data-dir.")
    return _names(folder)


def _data_folder(data_dir: str | None) -> Path:
    return _expanded(data_dir or os.environ.get("TFDS_DATA_DIR") or tfds_folder())


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"There is no home folder for {path}; check the name after the ~.") from None


def _names(folder: Path) -> list[str]:
    infos = [*folder.glob("*/*/dataset_info.json"), *folder.glob("*/*/*/dataset_info.json")]  # these have configurations
    return sorted({info.parent.parent.relative_to(folder).as_posix() for info in infos} | set(OWN))


def tfds_folder() -> str:
    """Where TFDS keeps prepared sets unless told otherwise."""
    return str(Path("~/tensorflow_datasets").expanduser())


def _known(data_dir: str | None) -> list[str]:
    # Not the community's: listing those takes a network.
    return sorted({*_names(_data_folder(data_dir)), *tfds.list_builders(with_community_datasets=False)})


def _builder(dataset: str, data_dir: str | None) -> tuple[tfds.core.DatasetBuilder, bool]:
    with logs.muted("absl"):  # warns of a folder that is about to be filled
        # As it was prepared, whatever its format; what is still to be prepared will be read by index.
        builder = tfds.builder(dataset, data_dir=data_dir)
        if not builder.is_prepared():
            builder = tfds.builder(dataset, data_dir=data_dir, file_format="array_record")
        return builder, builder.is_prepared()


def _is_folder(dataset: str, data_dir: str | None) -> bool:
    # Someone may well stand in a folder that holds the folders of prepared sets.
    bare = Path(dataset).name == dataset
    return _expanded(dataset).is_dir() and not (bare and dataset in _known(data_dir))


def _tfds(dataset: str, split: str, data_dir: str | None) -> Source:
    builder = prepare(dataset, data_dir=data_dir)
    try:
        examples = builder.as_data_source(split=split)
    except (ValueError, KeyError, AssertionError):
        there = ", ".join(f"{name} of {info.num_examples:,} examples" for name, info in sorted(builder.info.splits.items()))
        raise UserError(f"The dataset {dataset!r} has no split {split!r}; it has {there}.") from None
    except NotImplementedError:  # TFDS's word for a format without random access
        raise UserError(
            f"The dataset {dataset!r} in {builder.data_path} is prepared as {builder.info.file_format.value}, which cannot "
            f"be read by index; `jaxgen data prepare {dataset} --data-dir D` with another folder makes one that can."
        ) from None
    examples = _Records(examples, builder.info.full_name, builder.data_path)
    with logs.muted("absl"):  # TFDS recommends OpenCV, once a process; Pillow does as well
        examples[0]
    classes = {
        feature: tuple(spec.names)
        for feature, spec in builder.info.features.items()
        if isinstance(spec, tfds.features.ClassLabel)
    }
    fingerprint = _fingerprint(
        f"{builder.info.full_name} {split} {len(examples)}", [Path(p) for p in builder.info.splits[split].filepaths]
    )
    return from_examples(examples, name=f"{builder.info.full_name} {split}", fingerprint=fingerprint, classes=classes)


class _Records:
    """TFDS's examples; what is wrong with their files is told in a sentence."""

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
            raise UserError(
                f"The dataset {self._name} in {self._folder} cannot be read ({_line(error)}); restore its files, or "
                "delete them and prepare it again."
            ) from error


def _fingerprint(mark: str, files: list[Path]) -> str:
    """Hashes the files, or evenly spaced blocks of what is more than 128 MiB: their sizes do not tell, they are padded."""
    digest = hashlib.sha256(mark.encode())
    block = 1 << 16
    most = max(1, (128 << 20) // (block * len(files)))
    for path in sorted(files):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for at in np.linspace(0, max(size - block, 0), min(-(-size // block), most)).astype(int):
                file.seek(at)
                digest.update(file.read(block))
    return digest.hexdigest()[:16]


def _folder(dataset: str, split: str) -> Source:
    root = _expanded(dataset)
    folder = root / split
    if not folder.is_dir():
        there = sorted(p.name for p in root.iterdir() if p.is_dir())
        raise UserError(
            f"The folder {dataset} has no subfolder {split!r} to take that split from; it has {', '.join(there) or 'none'}."
        )
    return from_folder(folder)


def resize(size: int, *, feature: str = "image") -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An `example_map` that brings the central square of a uint8 image to `[size, size, C]`, with Lanczos' filter."""
    from PIL import Image, ImageOps

    def fn(example: dict[str, Any]) -> dict[str, Any]:
        pixels = example[feature]
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        small = np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS))
        return {**example, feature: small.reshape(size, size, pixels.shape[-1])}

    return fn


def _line(error: Exception) -> str:
    # Without TFDS's preface, which is `... builder_kwargs "{...}": `.
    return " ".join(str(error).split()).rpartition('}": ')[2][:300]
