"""Sets of images to compare, as sources of bytes: a model's samples, a file, or a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jaxgen import data, disk
from jaxgen.data import files
from jaxgen.data.pixels import to_bytes
from jaxgen.errors import UserError
from jaxgen.progress import Track
from jaxgen.progress import track as show
from jaxgen.samples import draws
from jaxgen.samples.conditions import Conditions
from jaxgen.types import Key, PyTree

CHUNK = 250
"""Samples that a device draws at once. Part of every protocol: the i-th chunk is drawn with the i-th key."""


@contextmanager
def drawn(
    sample: draws.Sample,
    state: PyTree,
    key: Key,
    n: int,
    *,
    name: str,
    conditions: Conditions | None = None,
    track: Track = show,
) -> Iterator[data.Source]:
    """A model's samples, chunk by chunk into a file; each device of this host draws chunks of its own.

    Args:
      sample: the model's sampler, `(state, key, given) -> images [n, H, W, C]` in [0, 1]; traced if there are several devices.
      state: the state of the model.
      key: the key of the draw; the i-th chunk's is folded from it.
      n: the number of samples.
      name: the name of the set.
      conditions: the conditions of the samples; where one of them is a class, `label`, the set has it too.
      track: a function that shows the progress.

    Yields:
      A source of bytes, in a file that ends with the context.

    Raises:
      UserError: if the samples are no images, or not finite.
    """
    with disk.scratch(f"the samples of {name}") as folder:
        images: np.ndarray | None = None
        start = 0
        for chunk in draws.chunks(sample, state, key, n, size=CHUNK, name=name, conditions=conditions, track=track):
            if chunk.ndim != 4:
                raise UserError(f"The samples of {name} are points, {list(chunk.shape[1:])}, and these metrics are of images.")
            if not np.isfinite(chunk).all():
                raise UserError(
                    f"The samples of {name} are not finite; train it again, or take an earlier checkpoint (--step)."
                )
            if images is None:
                with disk.explained(f"Writing the samples of {name} in {folder}", disk.MAKE_ROOM):
                    images = disk.mapped(folder / "images", np.uint8, (n, *chunk.shape[1:]))
            images[start : start + len(chunk)] = to_bytes(chunk)
            start += len(chunk)
        assert images is not None, "n is 1 or more"
        arrays, classes = {"image": images}, {}
        if conditions is not None and "label" in conditions.features:
            examples = conditions.examples
            parts = np.array_split(np.arange(n) % examples.length, -(-n // CHUNK))  # images may come along
            arrays["label"] = np.concatenate([examples.gather(part)["label"] for part in parts])
            classes = {"label": examples.classes.get("label", ())}
        yield data.from_arrays(arrays, name=name, classes=classes)


def read(path: Path) -> data.Source:
    """The set that a user names: a folder of images, or an array in a file.

    Args:
      path: a folder (its subfolders, if any, are the classes); `.npy` with images `[n, H, W, C]` or `[n, H, W]`; or `.npz` with
        these as `image` and, if there are any, their classes as `label` and the names of these as `classes`. Bytes, or
        floats in [0, 1].

    Returns:
      A source of bytes.

    Raises:
      UserError: if there are no images.
    """
    if path.is_dir():
        return data.from_folder(path)
    if path.suffix.lower() not in files.SUFFIXES or not path.is_file():
        raise UserError(f"{path} is no set of images; give a folder, an .npy file, or an .npz file with `image` and `label`.")
    return data.in_bytes(files.from_file(path))


def of_arrays(image: np.ndarray, label: np.ndarray | None = None, *, name: str = "images") -> data.Source:
    """The set of an array.

    Args:
      image: the images, `[n, H, W, C]` or `[n, H, W]`, bytes or floats in [0, 1].
      label: the classes of the images, `[n]`: numbers, names, or one-hot rows.
      name: the name of the set, for the protocol and for messages.

    Returns:
      A source of bytes.

    Raises:
      UserError: if they are no images, or no classes.
    """
    return data.in_bytes(files.of_arrays(image, label, name=name))
