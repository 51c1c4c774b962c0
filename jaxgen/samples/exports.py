"""Samples into files, as they are drawn: an array, a folder of pictures, or one picture of them all."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxgen import disk, pictures
from jaxgen.errors import UserError

BLOCK = 4096
"""Bytes that a small file takes on a disk, at least."""


def to_array(parts: Iterator[np.ndarray], n: int, path: Path) -> None:
    """Writes samples into an `.npy` file, `[n, ...]`, part by part; the file has its name when it is whole.

    Args:
      parts: arrays `[m, ...]`, n samples altogether.
      n: the number of samples.
      path: the path of the file; its folder is made.

    Raises:
      UserError: if the disk cannot hold them; this is found when the first part is drawn.
    """
    scratch = path.with_name(f".{path.stem}.partial.npy")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file: np.memmap | None = None
        at = 0
        try:
            for part in parts:
                if file is None:
                    _refuse_if_full(n * part[0].nbytes, n, path)
                    file = disk.mapped(scratch, part.dtype, (n, *part.shape[1:]))
                file[at : at + len(part)] = part
                at += len(part)
            assert file is not None, "n is 1 or more"
            file.flush()
            del file
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


def to_folder(parts: Iterator[np.ndarray], n: int, folder: Path, *, names: Sequence[str] = ()) -> None:
    """Writes samples as PNGs `0000.png`, `0001.png` ... into a folder, which is new or empty and has its name when it is whole.

    Args:
      parts: images `[m, H, W, C]` in [0, 1], n altogether.
      n: the number of images.
      folder: the folder to write to; its parent is made.
      names: other names for the files, one per image; they may have folders in them, `cats/a.png`.

    Raises:
      UserError: if the disk cannot hold them, the folder holds files, or the samples are no images.
    """
    from PIL import Image

    with _explained(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} is not empty; name a new folder for the samples.")
        scratch = folder.with_name(f".{folder.name}.partial")
        at, digits = 0, len(str(n - 1))
        try:
            for part in parts:
                if part.ndim != 4:
                    raise UserError(f"The samples are points, {list(part.shape[1:])}, and no images; give --out samples.npy.")
                if at == 0:
                    _refuse_if_full(n * -(-part[0].size // BLOCK) * BLOCK, n, folder)
                    shutil.rmtree(scratch, ignore_errors=True)
                    scratch.mkdir(parents=True)
                for image in np.round(np.clip(part, 0.0, 1.0) * 255).astype(np.uint8):
                    path = scratch / (names[at] if names else f"{at:0{digits}}.png")
                    path.parent.mkdir(exist_ok=True, parents=True)
                    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(path)
                    at += 1
            if folder.is_dir():
                folder.rmdir()
            os.replace(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def to_picture(parts: Iterator[np.ndarray], n: int, path: Path, caption: str) -> None:
    """Draws samples into one PNG.

    Args:
      parts: images `[m, H, W, C]` in [0, 1], n altogether.
      n: the number of images.
      path: the path of the picture; its folder is made.
      caption: a sentence that says what is to be seen.

    Raises:
      UserError: if there are more than a picture holds, which is found when the first part is drawn, or they are no images.
    """
    columns = round(n**0.5) or 1
    found: list[np.ndarray] = []
    for part in parts:
        if part.ndim != 4:
            raise UserError(f"The samples are points, {list(part.shape[1:])}, and no images; give --out samples.npy.")
        if not found:
            side = pictures.LARGEST
            height, width = part.shape[1:3]
            if max(-(-n // columns) * (height + 1), columns * (width + 1)) > side:
                raise UserError(
                    f"{n:,} images of {height}x{width} are too many for one picture; give --out samples.npy for an array, or "
                    "--out samples/ for a folder of pictures."
                )
        found.append(part)
    with _explained(path):
        pictures.save(pictures.Picture(np.concatenate(found), columns, caption), path)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    mend = "name a .png or a .npy file in a folder of yours, or a new folder that ends in a /"
    try:
        yield
    except OSError as error:
        why = disk.refusal(error) or str(error)
        raise UserError(f"{path} cannot be written ({why}); {mend}.") from error


def _refuse_if_full(need: int, n: int, path: Path) -> None:
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise UserError(
            f"{n:,} samples take {need / 2**30:,.1f} GiB, and the disk of {path} has {free / 2**30:,.1f} GiB free; "
            "draw fewer, or name a file on another disk."
        )
