"""Datasets by name: any prepared TFDS set, our own builders, a folder of images, or a file of arrays."""

import contextlib
import difflib
import hashlib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from jaxgen import logs
from jaxgen.data import builders, decode, files, stamps
from jaxgen.data.cache import cached, cached_bytes
from jaxgen.data.folder import from_folder, scan
from jaxgen.data.pixels import as_bytes
from jaxgen.data.source import Source, from_examples, in_bytes, map_examples, noted, reading
from jaxgen.data.stand_in import DataError, stand_in
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
      dataset: a TFDS name (`mnist`, `cifar10`, `emoji`, `digits`, `name:1.2.0` ...), the path of a folder with one subfolder of
        images a split, or of an `.npz` file with `train_image` and `test_image` (`jaxgen.data.files`); a folder that has
        the name of a dataset is `./mnist`.
      split: `train`, `test`, or anything that TFDS understands (`train[:90%]`).
      data_dir: where prepared sets lie; None means `$TFDS_DATA_DIR`, or TFDS's default.
      cache_budget: GiB that a split's cache may take; 0 streams everything.
      example_map: deterministic host-side `{feature: value} -> {feature: value}` for one example, before caching.
      example_map_name: says what `example_map` does; a cache made under another name is not used.

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
    path = _expanded(dataset)
    return os.path.abspath(path) if _is_folder(dataset, data_dir) or _is_file(path) else dataset


def opened(dataset: str, split: str, data_dir: str | None = None) -> Source:
    """One split of a dataset as it lies there: not looked at, and not cached."""
    path = _expanded(dataset)
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
    return _tfds(dataset, split, data_dir)


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
        if elsewhere := _nearby(dataset, data_dir):
            raise UserError(f"The dataset {dataset!r} is not prepared in {place}; {elsewhere}.") from None
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
    if name not in OWN and (elsewhere := _nearby(dataset, data_dir)):
        raise UserError(f"The dataset {dataset!r} is not prepared in {place}; {elsewhere}.")
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


class Prepared(NamedTuple):
    """A prepared dataset.

    Fields:
      name: as `load` takes it; with the configuration, if it has any.
      version: of the dataset.
      splits: how many examples each split has.
      features: each feature's shape and type, `28x28x1 uint8`.
      size: of the files, in bytes.
      place: the folder of the files.
    """

    name: str
    version: str
    splits: Mapping[str, int]
    features: Mapping[str, str]
    size: int
    place: Path


def prepared(data_dir: str | None = None) -> list[Prepared]:
    """The datasets that lie prepared in the data folder, each version of each; what cannot be read is left out.

    Raises:
      UserError: if a folder is given that is not there.
    """
    names(data_dir)  # refuses a folder that is not there
    folder, found = _data_folder(data_dir), []
    for info in sorted([*folder.glob("*/*/dataset_info.json"), *folder.glob("*/*/*/dataset_info.json")]):
        place = info.parent
        with contextlib.suppress(Exception), logs.muted("absl"):  # of any kind: the files are not ours
            read = tfds.builder_from_directory(place).info
            features = {name: _shape_and_type(feature) for name, feature in read.features.get_tensor_info().items()}
            splits = {name: split.num_examples for name, split in read.splits.items()}
            size = sum(path.stat().st_size for path in place.iterdir())
            found.append(Prepared(place.parent.relative_to(folder).as_posix(), place.name, splits, features, size, place))
    return found


def _shape_and_type(feature: Any) -> str:
    if isinstance(feature, Mapping):
        return f"{{{', '.join(feature)}}}"
    shape = "x".join("?" if side is None else str(side) for side in feature.shape)
    # TFDS has text as an object.
    kind = {"object": "text", "object_": "text"}.get(np.dtype(feature.np_dtype).name, np.dtype(feature.np_dtype).name)
    return f"{shape} {kind}".strip()


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


def _is_file(path: Path) -> bool:
    return path.suffix.lower() in files.SUFFIXES and path.is_file()


def _nearby(dataset: str, data_dir: str) -> str:
    """Where the set lies that was looked for in the wrong folder, as the end of a sentence: a level too deep, or too high."""
    name, folder = dataset.split(":")[0], Path(data_dir).absolute()
    below = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    for other in (*folder.parents[:3], *below[:1000]):
        with contextlib.suppress(OSError):
            if any((other / name).glob("*/dataset_info.json")) or any((other / name).glob("*/*/dataset_info.json")):
                return f"it lies in {other}: give --data-dir {other}"
    return ""


def _tfds(dataset: str, split: str, data_dir: str | None) -> Source:
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
    source = from_examples(examples, name=f"{builder.info.full_name} {split}", fingerprint=fingerprint, classes=classes)
    image = dict(builder.info.features.items()).get("image")
    wide = isinstance(image, tfds.features.Image) and np.dtype(image.np_dtype) == np.uint16
    return map_examples(source, _upper_bits, name="upper eight bits")._replace(name=source.name) if wide else source


def _upper_bits(example: dict[str, Any]) -> dict[str, Any]:
    """An image of 16 bits as a viewer shows it."""
    return {**example, "image": (example["image"] >> 8).astype(np.uint8)}


def _other_splits(dataset: str, split: str, there: Sequence[str]) -> str:
    """How to read a set whose splits are not called train and test, as the end of a sentence."""
    if split not in ("train", "test") or not there:
        return ""
    train = "train" if "train" in there else there[0]
    test = "test" if "test" in there else next((name for name in there if name != train), None)
    how = f"--train {train} --test {test}" if test is not None else f"--train {train} --split 0.9"
    return f"; `jaxgen data convert {dataset} OUT.npz {how}` makes a set of both"


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
            if "install OpenCV" in str(error):  # TFDS decodes pictures of 16 bits with it alone
                raise UserError(
                    f"The dataset {self._name} cannot be read without another package ({_line(error).partition('. ')[0]}); "
                    "`pip install opencv-python-headless`."
                ) from None
            raise UserError(
                f"The dataset {self._name} in {self._folder} cannot be read ({_line(error)}); restore its files, or "
                "delete them and prepare it again."
            ) from error


def _fingerprint(mark: str, paths: list[Path]) -> str:
    """A hash of the files, every byte of them: their sizes do not tell, they are padded."""
    digest = hashlib.sha256(mark.encode())
    paths = sorted(paths)
    stats = [path.stat() for path in paths]
    block = 1 << 16
    if sum(found.st_size for found in stats) > 128 << 20:
        found = stamps.hashes(
            paths[0].parent,
            [(str(path), stamps.stamp(own)) for path, own in zip(paths, stats, strict=True)],
            track=lambda numbers, told: logs.track(numbers, description=told),
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


def _folder(dataset: str, split: str) -> Source:
    root = _expanded(dataset)
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


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:10])}{' ...' if names[10:] else ''}"


def resize(size: int, *, feature: str = "image") -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An `example_map` that brings the central square of a uint8 image to `[size, size, C]`, with Lanczos' filter."""
    from PIL import Image, ImageOps

    def fn(example: dict[str, Any]) -> dict[str, Any]:
        pixels = as_bytes(np.asarray(example[feature]), f"The {feature}")
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        small = np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS))
        return {**example, feature: small.reshape(size, size, pixels.shape[-1])}

    return fn


def _line(error: Exception) -> str:
    # Without TFDS's preface, which is `... builder_kwargs "{...}": `.
    return " ".join(str(error).split()).rpartition('}": ')[2][:300]
