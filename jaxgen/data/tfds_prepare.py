"""TFDS datasets: a list of them, and their preparation. They are our own builders, prepared sets, and TFDS's official ones."""

import contextlib
import difflib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from jaxgen import progress
from jaxgen.data import builders
from jaxgen.data.files import expanded
from jaxgen.errors import UserError

OWN = {
    "digits": builders.Digits,
    "captioned_digits": builders.CaptionedDigits,
    "gaussian_ring": builders.GaussianRing,
    "gaussian_grid": builders.GaussianGrid,
    "segmented_digits": builders.SegmentedDigits,
    "chalk_digits": builders.ChalkDigits,
    "slanted_digits": builders.SlantedDigits,
    "coloured_digits": builders.ColouredDigits,
    "sprites": builders.Sprites,
}


def prepare(dataset: str, *, data_dir: str | None = None) -> tfds.core.DatasetBuilder:
    """Makes a dataset readable: finds it prepared, or prepares it now.

    Our own builders need neither TensorFlow nor a network; TFDS's official ones download their raw files and need
    TensorFlow (`pip install "jaxgen[tf]"`).

    Args:
      dataset: a TFDS name.
      data_dir: the folder of the prepared sets, as in `load`.

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
        near = difflib.get_close_matches(dataset, known(data_dir), n=3)
        hint = f" The nearest names are {', '.join(near)}." if near else ""
        raise UserError(
            f"There is no dataset {dataset!r}: it is no folder, it is not prepared in {place}, and TFDS does not know it.{hint}"
        ) from None
    except ImportError as error:
        raise UserError(
            f"The dataset {dataset!r} cannot be opened without another package ({one_line(error)}); install it, TensorFlow "
            'by `pip install "jaxgen[tf]"`.'
        ) from None
    except Exception as error:
        # A version that does not exist, or a prepared folder that is damaged: TFDS's own message names what.
        reason = one_line(error).partition(". ")[0].rstrip(".")
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
    progress.say(f"Preparing {dataset} in {builder.data_dir} ...")
    try:
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(None):  # a paragraph, said above in a line
            builder.download_and_prepare()
    except Exception as error:
        builder, prepared = _builder(dataset, data_dir)
        if not prepared:  # nor by another process meanwhile
            raise UserError(
                f"Preparing {dataset!r} in {data_dir} failed ({type(error).__name__}: {one_line(error)}); "
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
      name: the dataset's name as `load` takes it, with the configuration, if it has any.
      version: the version of the dataset.
      splits: the number of examples in each split.
      features: each feature's shape and type, `28x28x1 uint8`.
      size: the size of the files in bytes.
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
        with contextlib.suppress(Exception), progress.muted("absl"):  # of any kind: the files are not ours
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
    return expanded(data_dir or os.environ.get("TFDS_DATA_DIR") or tfds_folder())


def _names(folder: Path) -> list[str]:
    infos = [*folder.glob("*/*/dataset_info.json"), *folder.glob("*/*/*/dataset_info.json")]  # these have configurations
    return sorted({info.parent.parent.relative_to(folder).as_posix() for info in infos} | set(OWN))


def tfds_folder() -> str:
    """The folder in which TFDS keeps prepared sets by default."""
    return str(Path("~/tensorflow_datasets").expanduser())


def known(data_dir: str | None) -> list[str]:
    """All datasets that `load` can be asked for by name, whether they are prepared or not."""
    # Not the community's: listing those takes a network.
    return sorted({*_names(_data_folder(data_dir)), *tfds.list_builders(with_community_datasets=False)})


def _builder(dataset: str, data_dir: str | None) -> tuple[tfds.core.DatasetBuilder, bool]:
    with progress.muted("absl"):  # warns of a folder that is about to be filled
        # As it was prepared, whatever its format; what is still to be prepared will be read by index.
        builder = tfds.builder(dataset, data_dir=data_dir)
        if not builder.is_prepared():
            builder = tfds.builder(dataset, data_dir=data_dir, file_format="array_record")
        return builder, builder.is_prepared()


def _nearby(dataset: str, data_dir: str) -> str:
    """The folder of a set that was looked for a level too deep or too high, as the end of a sentence."""
    name, folder = dataset.split(":")[0], Path(data_dir).absolute()
    below = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    for other in (*folder.parents[:3], *below[:1000]):
        with contextlib.suppress(OSError):
            if any((other / name).glob("*/dataset_info.json")) or any((other / name).glob("*/*/dataset_info.json")):
                return f"it lies in {other}: give --data-dir {other}"
    return ""


def one_line(error: Exception) -> str:
    """TFDS's error message on one line of at most 300 characters."""
    # Without TFDS's preface, which is `... builder_kwargs "{...}": `.
    return " ".join(str(error).split()).rpartition('}": ')[2][:300]
