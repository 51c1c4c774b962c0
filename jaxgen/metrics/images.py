"""Sets of images to compare, as sources of bytes: of a model's samples, a file, or a folder."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from jaxgen import data, draws, durable
from jaxgen.errors import UserError
from jaxgen.logs import Track
from jaxgen.logs import track as show
from jaxgen.types import Key, PyTree

CHUNK = 250
"""Samples that a device draws at once. Part of every protocol: the i-th chunk is drawn with the i-th key."""


def to_bytes(images: Float[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n h w c"]:
    """Images in [0, 1] as the bytes that would be saved: the nearest of 256 levels.

    >>> to_bytes(np.array([[[[0.0], [0.5], [1.0]]]])).ravel().tolist()
    [0, 128, 255]
    """
    return np.round(np.clip(images, 0.0, 1.0) * 255).astype(np.uint8)


@contextmanager
def drawn(
    sample: draws.Sample,
    state: PyTree,
    key: Key,
    n: int,
    *,
    name: str,
    classes: int | None = None,
    track: Track = show,
) -> Iterator[data.Source]:
    """A model's samples, chunk by chunk into a file; each device of this host draws chunks of its own.

    Args:
      sample: `(state, key, n) -> images [n, H, W, C]` in [0, 1]; traced where there are several devices.
      state: of the model.
      key: of the draw; the i-th chunk's is folded from it.
      n: how many.
      name: of the set.
      classes: if the i-th image of a draw is of class i modulo this, the set has labels.
      track: shows the progress.

    Yields:
      A source of bytes, in a file that ends with the context.

    Raises:
      UserError: if the samples are no images, or not finite.
    """
    with durable.scratch(f"the samples of {name}") as folder:
        images: np.ndarray | None = None
        start = 0
        for chunk in draws.chunks(sample, state, key, n, size=CHUNK, name=name, track=track):
            if chunk.ndim != 4:
                raise UserError(f"The samples of {name} are points, {list(chunk.shape[1:])}, and these metrics are of images.")
            if not np.isfinite(chunk).all():
                raise UserError(
                    f"The samples of {name} are not finite; train it again, or take an earlier checkpoint (--step)."
                )
            if images is None:
                with durable.explained(f"Writing the samples of {name} in {folder}", durable.MAKE_ROOM):
                    images = durable.mapped(folder / "images", np.uint8, (n, *chunk.shape[1:]))
            images[start : start + len(chunk)] = to_bytes(chunk)
            start += len(chunk)
        assert images is not None, "n is 1 or more"
        arrays = {"image": images}
        if classes is not None:
            arrays["label"] = np.arange(n) % CHUNK % classes
        yield data.from_arrays(arrays, name=name)


def read(path: Path) -> data.Source:
    """The set that a user names: a folder of images, or an array in a file.

    Args:
      path: a folder (its subfolders, if any, are the classes); `.npy` with images `[n, H, W, C]` or `[n, H, W]`; or `.npz` with
        these as `image` and, if there are any, their classes as `label`. Bytes, or floats in [0, 1].

    Returns:
      A source of bytes.

    Raises:
      UserError: if there are no images.
    """
    if path.is_dir():
        return data.from_folder(path)
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        raise UserError(f"{path} is no set of images; give a folder, an .npy file, or an .npz file with `image` and `label`.")
    try:
        if path.suffix == ".npy":
            arrays = {"image": np.load(path, mmap_mode="r", allow_pickle=False)}
        else:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                arrays = {feature: found[feature] for feature in ("image", "label") if feature in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read as an array ({error}); write it again.") from None
    if "image" not in arrays:
        raise UserError(f"{path} has no array `image`; give it one.")
    return of_arrays(name=str(path), **arrays)


def of_arrays(image: np.ndarray, label: np.ndarray | None = None, *, name: str = "images") -> data.Source:
    """The set of an array.

    Args:
      image: `[n, H, W, C]` or `[n, H, W]`, bytes or floats in [0, 1].
      label: its classes `[n]`.
      name: for the protocol and for messages.

    Raises:
      UserError: if they are no images.
    """
    image = image[..., None] if image.ndim == 3 else image
    if image.ndim != 4 or not image.size:
        raise UserError(f"{name} is an array of shape {list(image.shape)}; give images, [n, H, W, C].")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"{name} holds {image.dtype}; give bytes from 0 to 255, or floats from 0 to 1.")
    if image.dtype != np.uint8:
        if not (image.min() >= 0 and image.max() <= 1):  # NaN is neither
            raise UserError(
                f"{name} has values from {image.min():.3g} to {image.max():.3g}; give floats from 0 to 1, or bytes."
            )
        image = to_bytes(image)
    return data.from_arrays({"image": image} | ({} if label is None else {"label": label}), name=name)
