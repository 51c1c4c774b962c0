"""Files of pictures to bytes: the one decoder, which gives what a viewer shows or says why it does not."""

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.errors import UserError

STUBS = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}
"""Formats that Pillow recognises and does not decode by itself, or that hold no pictures of pixels."""

STILL = {"MPO", "PSD", "ICO", "ICNS"}
"""Formats whose further frames are previews or layers of the one picture that a viewer shows."""

DIRECT = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}


@functools.cache
def suffixes() -> frozenset[str]:
    """The endings of the files that are pictures, in lower case: those of every format that Pillow decodes."""
    from PIL import Image

    return frozenset(
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if (kind in Image.OPEN or kind == "MPO") and kind not in STUBS
    )


def decode(content: bytes, path: str, *, size: int | None = None, grey: bool = False) -> np.ndarray:
    r"""The pixels of a file, as a viewer shows them.

    EXIF's orientation is applied. Transparent pictures lie on white. Sixteen bits become the upper eight: $x \mapsto
    \lfloor x / 256 \rfloor$. Colour profiles are not applied.

    Args:
      content: the bytes of the file.
      path: the path of the file, for messages.
      size: side in pixels that the central square is resized to, with Lanczos' filter; None keeps the picture as it is.
      grey: whether to read one channel instead of three.

    Returns:
      uint8 `[H, W, 3]`, or `[H, W, 1]` where `grey`.

    Raises:
      UserError: if the file is torn, or holds what has no one right look: several frames, floats, 32-bit integers, Lab.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content)) as file:
            frames = getattr(file, "n_frames", 1)
            if frames > 1 and file.format not in STILL:
                raise UserError(f"{path} holds {frames} frames; save each as a picture of its own.")
            tags = getattr(file, "tag_v2", {})  # of a TIFF, read before the orientation's own is taken away
            file.load()
            picture = _shown(_upright(file), file.format, tags, path)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types at what is torn
        raise UserError(f"{path} cannot be read as an image ({error}); mend or remove it.") from None
    picture = picture.convert("L" if grey else "RGB")
    if size is not None:
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, np.uint8)
    return pixels[..., None] if grey else pixels


def _upright(picture: Any) -> Any:
    """The picture turned as its EXIF says, or as it lies where that is torn."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(picture)
    except MemoryError:
        raise
    except Exception:  # the pixels were read: viewers show them
        return picture


def _shown(picture: Any, kind: str | None, tags: Any, path: str) -> Any:
    """The picture in grey or RGB of eight bits, without transparency."""
    from PIL import Image

    mode, key = picture.mode, picture.info.get("transparency")
    if mode.startswith("I;16") or (mode == "I" and kind in ("PNG", "PPM")):  # before version 12 Pillow widened these
        wide = np.asarray(picture).astype(np.int64)
        bits = _first(tags.get(258, 16)) if mode != "I" else 16
        shown = (wide >> (bits - 8)).clip(0, 255)
        if _first(tags.get(262, 1)) == 0:  # white is zero, which Pillow heeds for eight bits only
            shown = 255 - shown
        if key is not None:
            shown = np.where(wide == key, 255, shown)
        return Image.fromarray(shown.astype(np.uint8))
    if mode not in DIRECT | ALPHA:
        what = {"F": "floats", "I": "32-bit integers", "LAB": "Lab colours"}.get(mode, f"pixels of mode {mode}")
        raise UserError(f"{path} holds {what}, which viewers show in different ways; save it as an 8-bit or 16-bit PNG.")
    if max(key if isinstance(key, tuple) else (key if isinstance(key, int) else 0,)) > 255:
        raise UserError(
            f"{path} names a transparent colour of 16 bits, which cannot be told here; save it with an alpha channel."
        )
    if mode not in ALPHA and key is None and not (mode == "P" and picture.palette.mode == "RGBA"):
        return picture if mode == "L" else picture.convert("RGB")
    straight = picture.convert("LA") if mode == "La" else picture
    layers = np.asarray(straight.convert("RGBA"), np.uint32)
    colour, alpha = layers[..., :3], layers[..., 3:]
    # In whole numbers, rounded to the nearest: a wholly transparent pixel is white whatever colour it hides.
    return Image.fromarray(((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8))


def _first(tag: Any) -> int:
    return int(tag[0] if isinstance(tag, tuple) else tag)


def contents_of(path: str | Path) -> bytes:
    """The bytes of a file.

    Raises:
      UserError: if they cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read as an image ({error.strerror}); mend or remove it.") from None


def shown(path: object) -> str:
    r"""A path as text that can be printed anywhere: bytes that are no UTF-8 are written as escapes, `caf\xe9`."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
