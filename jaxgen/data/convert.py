"""Any set of images as one `.npz` file with the splits train and test, of one size."""

import os
import uuid
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen import disk
from jaxgen.data import files
from jaxgen.data.by_name import opened, place
from jaxgen.data.compatibility import same_classes
from jaxgen.data.folder import from_folder, scan
from jaxgen.data.pixels import resize
from jaxgen.data.source import Source
from jaxgen.data.views import in_bytes, map_examples, take
from jaxgen.errors import UserError

ROWS = 256

Track = Callable[[Iterable[int], str], Iterable[int]]


def convert(
    dataset: str,
    out: Path,
    *,
    train: str | None = None,
    test: str | None = None,
    split: float | None = None,
    size: int | None = None,
    grey: bool = False,
    data_dir: str | None = None,
    seed: int = 0,
    track: Track = lambda rows, description: rows,
) -> dict[str, int]:
    """Writes the images and labels of a set to a file that `load` reads.

    Args:
      dataset: the dataset, as `load` takes it; with `split` also a folder of images or a file of arrays that has no splits.
      out: the file, `.npz`.
      train: the split to take as train; None means `train`, and with `split` the whole set where it has no such split.
      test: the split to take as test; None means `test`.
      split: the share of train's examples that stays there, of every class alike; the others become test.
      size: side in pixels that the central square of every image is resized to.
      grey: whether to write one channel instead of three.
      data_dir: the folder of the prepared sets, as `load` takes it.
      seed: the seed of the order in which examples go to the splits.
      track: a function that wraps an iterable with a progress bar; it is given the iterable and a description.

    Returns:
      The number of examples in each split.

    Raises:
      UserError: if the set cannot be read or cut so, its images differ in size, or the file cannot be written.
    """
    if out.suffix != ".npz":
        raise UserError(f"{out} is no .npz file by its name; call it {out.name}.npz.")
    if split is not None and test is not None:
        raise UserError("--split cuts the test split from the training set, and --test names one; give one of the two.")

    def ready(source: Source) -> Source:
        mapped = map_examples(source, lambda example: _image_and_label(example, size, grey), name=f"size {size} grey {grey}")
        return in_bytes(mapped)._replace(name=source.name)

    if split is None:
        parts = {
            "train": ready(opened(dataset, train or "train", data_dir)),
            "test": ready(opened(dataset, test or "test", data_dir)),
        }
        if all("label" in source.gather(np.zeros(1, np.int64)) for source in parts.values()):
            same_classes("label", *parts.values())
    else:
        whole = ready(_whole(dataset, data_dir) if train is None else opened(dataset, train, data_dir))
        parts = _cut(whole, split, seed)
    with disk.explained(f"Writing {out}", "name a file in a folder of yours, on a disk with space."):
        _write(parts, out, track)
    return {name: source.length for name, source in parts.items()}


def _whole(dataset: str, data_dir: str | None) -> Source:
    """The set that has no splits, or its train split."""
    path = Path(place(dataset, data_dir))
    if path.is_absolute() and path.is_file():
        return files.from_file(path, None if "image" in _keys(path) else "train")
    if path.is_absolute():
        return from_folder(path / "train" if scan(path / "train").pictures else path)
    return opened(dataset, "train", data_dir)


def _keys(path: Path) -> list[str]:
    return ["image"] if path.suffix.lower() == ".npy" else list(files.arrays(path))


def _image_and_label(example: dict[str, Any], size: int | None = None, grey: bool = False) -> dict[str, Any]:
    """The two features that are written, the image brought to its size."""
    if "image" not in example:
        raise UserError(f"The set has no feature 'image', only {', '.join(sorted(example))}; take one that has.")
    kept: dict[str, Any] = {feature: example[feature] for feature in ("image", "label") if feature in example}
    if size is not None:
        kept = resize(size)(kept)
    if grey and kept["image"].shape[-1] == 3:
        from PIL import Image

        kept["image"] = np.asarray(Image.fromarray(kept["image"]).convert("L"))[..., None]
    return kept


def _cut(source: Source, share: float, seed: int) -> dict[str, Source]:
    """Two parts of a set, each with the given share of every class, as near as whole examples allow and at least one."""
    rows = np.arange(source.length)
    found = [source.gather(rows[i : i + ROWS]).get("label") for i in range(0, source.length, ROWS)]
    label = np.zeros(source.length, np.int64) if found[0] is None else np.concatenate([a for a in found if a is not None])
    order = np.random.default_rng(seed).permutation(source.length)
    chosen = []
    for value in np.unique(label):
        own = order[label[order] == value]
        if len(own) < 2:
            named = source.classes.get("label", ())
            which = f"the class {named[value] if named else value}" if found[0] is not None else "the set"
            raise UserError(f"{source.name} cannot be cut in two: {which} has one example; add some, or remove it.")
        chosen.append(own[: int(np.clip(round(share * len(own)), 1, len(own) - 1))])
    train = np.sort(np.concatenate(chosen))
    return {"train": take(source, train), "test": take(source, np.setdiff1d(rows, train))}


def _write(parts: dict[str, Source], out: Path, track: Track) -> None:
    """Writes the file, whole or not at all; the arrays go through the memory in chunks."""
    scratch = out.with_name(f".{out.name}-{uuid.uuid4().hex[:12]}")
    try:
        with zipfile.ZipFile(scratch, "x") as archive:
            for name, source in parts.items():
                for feature, first in source.gather(np.zeros(1, np.int64)).items():
                    with archive.open(f"{name}_{feature}.npy", "w", force_zip64=True) as file:
                        header = np.lib.format.header_data_from_array_1_0(first) | {"shape": (source.length, *first.shape[1:])}
                        np.lib.format.write_array_header_1_0(file, header)
                        for i in track(range(0, source.length, ROWS), f"{feature} of {name}"):
                            rows = source.gather(np.arange(i, min(i + ROWS, source.length)))[feature]
                            file.write(np.ascontiguousarray(rows.astype(first.dtype)).tobytes())
            if names := parts["train"].classes.get("label"):
                with archive.open("classes.npy", "w") as file:
                    np.lib.format.write_array(file, np.array(names), allow_pickle=False)
        os.replace(scratch, out)
    finally:
        scratch.unlink(missing_ok=True)
