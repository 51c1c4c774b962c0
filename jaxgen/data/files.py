"""Sets of images in a file of arrays: `.npz` with splits, or `.npz` and `.npy` of one set."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxgen.data import decode, labels
from jaxgen.data.source import Source, from_arrays
from jaxgen.errors import UserError

SUFFIXES = (".npy", ".npz")


def from_file(path: Path, split: str | None = None) -> Source:
    """The set in a file of arrays.

    An `.npz` file of one set has the arrays `image` and, if there are any, `label` and `classes`, the classes' names. One with
    splits has `train_image`, `train_label`, `test_image`, `test_label` and `classes`; `train_images`, `train_labels`, `x_train`
    and `y_train` are understood as well. An `.npy` file is an `image`.

    Args:
      path: the file.
      split: the split: `train` or `test`; None means a file of one set.

    Returns:
      The source; its images are bytes or floats in [0, 1], its labels numbers.

    Raises:
      UserError: if the file cannot be read, or has no such arrays.
    """
    found, name = arrays(path), decode.shown(path)
    there = ", ".join(found) or "none"
    image = _feature(found, "image", split)
    if image is None and split is None:
        raise UserError(f"{name} has no array `image`, only {there}; give it one.")
    if image is None:
        mend = f"`jaxgen data convert {name} OUT.npz --split 0.9` cuts it in two" if "image" in found else "rename its arrays"
        raise UserError(
            f"{name} has no images of the split {split!r} ({', '.join(_keys('image', split))}), only {there}; {mend}."
        )
    label = _feature(found, "label", split)
    names: tuple[str, ...] = ()
    if "classes" in found:
        names = tuple(labels.texts(found["classes"].ravel().astype(str)))
    elif label is not None and label.dtype.kind in "SU":
        # The splits of one file have their names in common.
        every = [one for of in (None, "train", "test") if (one := _feature(found, "label", of)) is not None]
        names = tuple(labels.ordered(list({text for one in every for text in labels.texts(one.ravel())})))
    return of_arrays(image, label, name=name if split is None else f"{name} {split}", names=names)


def of_arrays(
    image: np.ndarray, label: np.ndarray | None = None, *, name: str = "images", names: tuple[str, ...] = ()
) -> Source:
    """The set of arrays, looked at.

    Args:
      image: the images, `[n, H, W, C]` or `[n, H, W]`, bytes or floats in [0, 1].
      label: the classes of the images, in any form of `labels.numbered`.
      name: the name of the set, for messages.
      names: the names of the classes.

    Raises:
      UserError: if they are no images, or no classes.
    """
    image = image[..., None] if image.ndim == 3 else image
    if image.ndim != 4 or not image.size:
        raise UserError(f"{name} is an array of shape {list(image.shape)}; give images, [n, H, W, C].")
    if label is None:
        return from_arrays({"image": image}, name=name)
    numbers, names = labels.numbered(label, name, names=names)
    return from_arrays({"image": image, "label": numbers}, name=name, classes={"label": names} if names else {})


def arrays(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of a file, by name."""
    try:
        if path.suffix.lower() == ".npy":
            return {"image": np.load(path, mmap_mode="r", allow_pickle=False)}
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return {key: found[key] for key in found.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{decode.shown(path)} cannot be read as an array ({error}); write it again.") from None


def expanded(path: str) -> Path:
    """A path whose `~` is the home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"There is no home folder for {path}; check the name after the ~.") from None


def _keys(feature: str, split: str | None) -> tuple[str, ...]:
    if split is None:
        return (feature,)
    return f"{split}_{feature}", f"{split}_{feature}s", f"{'x' if feature == 'image' else 'y'}_{split}"


def _feature(found: Mapping[str, np.ndarray], feature: str, split: str | None) -> np.ndarray | None:
    return next((found[key] for key in _keys(feature, split) if key in found), None)
