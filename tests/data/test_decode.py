"""The decoder of pictures, against an independent reading by NumPy of what was written, and sentences for the rest."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxgen import data
from jaxgen.data.decode import decode
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7, 1), dtype=np.uint8)
WIDE = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
PALETTE = RNG.integers(0, 256, (8, 3), dtype=np.uint8)
INDEX = RNG.integers(0, 8, (5, 7), dtype=np.uint8)


def encoded(picture: Image.Image, kind: str = "png", **how: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    a = alpha.astype(np.float64) / 255
    return np.round(a * colour + (1 - a) * 255)


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(grey)[..., None], 3, 2)


def indexed(**how: Any) -> bytes:
    picture = Image.fromarray(INDEX, "P") if not hasattr(Image, "frombytes") else Image.frombytes("P", (7, 5), INDEX.tobytes())
    picture.putpalette(PALETTE.tobytes())
    return encoded(picture, **how)


def tiff(pixels: np.ndarray, *, bits: int = 16, white_is_zero: bool = False, order: str = "<") -> bytes:
    """A TIFF of 16-bit greys, written by hand: Pillow writes none with white as zero."""
    entries = [
        (256, 4, pixels.shape[1]),
        (257, 4, pixels.shape[0]),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, 0 if white_is_zero else 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, pixels.shape[0]),
        (279, 4, pixels.nbytes),
    ]
    body = pixels.astype(f"{order}u2").tobytes()
    table = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value))
        for tag, kind, value in entries
    )
    start = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(entries)) + table + bytes(4)
    return start + struct.pack(f"{order}I", 8 + len(body)) + body + directory


CASES = {
    "1": (encoded(Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE)), three(np.where(GREY > 127, 255, 0))),
    "L": (encoded(Image.fromarray(GREY)), three(GREY)),
    "L of a pgm": (b"P5 7 5 255\n" + GREY.tobytes(), three(GREY)),
    "LA": (
        encoded(Image.fromarray(np.concatenate([GREY[..., None], ALPHA], 2), "LA")),
        on_white(three(GREY), ALPHA),
    ),
    "P": (indexed(), PALETTE[INDEX]),
    "P of a gif": (indexed(kind="gif"), PALETTE[INDEX]),
    "P with one clear colour": (indexed(transparency=3), np.where(INDEX[..., None] == 3, 255, PALETTE[INDEX])),
    "P with an alpha each": (
        indexed(transparency=bytes(range(0, 256, 32))),
        on_white(PALETTE[INDEX], np.arange(0, 256, 32)[INDEX][..., None]),
    ),
    "RGB": (encoded(Image.fromarray(COLOUR)), COLOUR),
    "RGB of a bmp": (encoded(Image.fromarray(COLOUR), "bmp"), COLOUR),
    "RGB of a tiff": (encoded(Image.fromarray(COLOUR), "tiff"), COLOUR),
    "RGB of a lossless webp": (encoded(Image.fromarray(COLOUR), "webp", lossless=True), COLOUR),
    "RGB with a clear colour": (
        encoded(Image.fromarray(COLOUR), transparency=tuple(map(int, COLOUR[2, 3]))),
        np.where((COLOUR[2, 3] == COLOUR).all(-1, keepdims=True), 255, COLOUR),
    ),
    "L with a clear grey": (
        encoded(Image.fromarray(GREY), transparency=int(GREY[1, 1])),
        three(np.where(GREY[1, 1] == GREY, 255, GREY)),
    ),
    "RGBA": (encoded(Image.fromarray(np.concatenate([COLOUR, ALPHA], 2))), on_white(COLOUR, ALPHA)),
    "RGBA wholly clear": (
        encoded(Image.fromarray(np.concatenate([COLOUR, np.zeros_like(ALPHA)], 2))),
        np.full((5, 7, 3), 255),
    ),
    "CMYK of a tiff": (
        encoded(Image.fromarray(np.concatenate([COLOUR, np.zeros_like(ALPHA)], 2), "CMYK"), "tiff"),
        255 - COLOUR.astype(int),
    ),
    "16 bits of a png": (encoded(Image.fromarray(WIDE)), three(WIDE >> 8)),
    "16 bits of a pgm": (b"P5 7 5 65535\n" + WIDE.astype(">u2").tobytes(), three(WIDE >> 8)),
    "16 bits of a tiff": (tiff(WIDE), three(WIDE >> 8)),
    "16 bits of a big-endian tiff": (tiff(WIDE, order=">"), three(WIDE >> 8)),
    "16 bits, white is zero": (tiff(WIDE, white_is_zero=True), three(255 - (WIDE >> 8))),
}


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_that_were_written(case: str) -> None:
    content, expected = CASES[case]
    assert decode(content, case).dtype == np.uint8
    np.testing.assert_array_equal(decode(content, case), expected)


def test_colours_of_a_jpeg_are_near() -> None:
    smooth = np.broadcast_to(np.array([200, 40, 90], np.uint8), (16, 16, 3))
    got = decode(encoded(Image.fromarray(smooth), "jpeg", quality=95), "x").astype(int)
    assert np.abs(got - smooth).max() <= 3


# What EXIF's eight values ask for, in the words of the standard: where row 0 and column 0 of the file belong.
TURNED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_exif_turns_a_picture(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(COLOUR), kind, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    np.testing.assert_array_equal(decode(content, "x"), TURNED[orientation](COLOUR))


def test_a_turned_picture_of_sixteen_bits_or_with_transparency() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(WIDE), exif=exif), "x"), np.rot90(three(WIDE >> 8), -1))
    clear = Image.fromarray(np.concatenate([COLOUR, ALPHA], 2))
    np.testing.assert_array_equal(decode(encoded(clear, exif=exif), "x"), np.rot90(on_white(COLOUR, ALPHA), -1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word, and it goes on
def test_an_exif_that_is_torn_does_not_cost_the_picture() -> None:
    for torn in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\0\x01"):
        content = encoded(Image.fromarray(COLOUR), "jpeg", quality=100, subsampling=0, exif=torn)
        assert decode(content, "x").shape == (5, 7, 3)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "tiff"), "holds floats, which viewers show in different ways"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.int32)), "tiff"), "holds 32-bit integers"),
        (encoded(Image.new("LAB", (4, 4)), "tiff"), "holds Lab colours"),
        (
            encoded(Image.fromarray(GREY), "gif", save_all=True, append_images=[Image.fromarray(255 - GREY)]),
            "holds 2 frames; save each as a picture of its own",
        ),
        (
            encoded(Image.fromarray(GREY), "tiff", save_all=True, append_images=[Image.fromarray(255 - GREY)]),
            "holds 2 frames",
        ),
        (b"", "cannot be read as an image"),
        (encoded(Image.fromarray(COLOUR))[:60], "cannot be read as an image"),
        (b"<html>404</html>", "cannot be read as an image"),
    ],
)
def test_what_has_no_one_right_look_is_refused_by_name(content: bytes, told: str) -> None:
    with pytest.raises(UserError) as caught:
        decode(content, "pictures/7.png")
    assert str(caught.value).startswith(f"pictures/7.png {told}")
    assert "\n" not in str(caught.value)


def test_grey_and_size_come_after_the_look(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(encoded(Image.new("RGBA", (6, 4), (10, 20, 30, 0))))
    source = data.from_folder(tmp_path, size=2, grey=True)
    np.testing.assert_array_equal(source.gather(np.arange(1))["image"], np.full((1, 2, 2, 1), 255))
