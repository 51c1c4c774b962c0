"""Folders: what counts as an example, its class, what is left out and said. Oracle: a plain reading."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import picture, seen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgen import data
from jaxgen.errors import UserError

PETS = ([0, 10, 20, 30, 40, 50], [0, 0, 0, 1, 1, 1], ("a", "b"))


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ([str(i) for i in range(12)], [str(i) for i in range(12)]),
        (["-1", "10", "9", "-20"], ["-20", "-1", "9", "10"]),
        (["010", "9", "100"], ["9", "010", "100"]),
        (["class10", "class9"], ["class10", "class9"]),
        (["10", "9", "nine"], ["10", "9", "nine"]),
    ],
)
def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path: Path, names: list[str], order: list[str]) -> None:
    for i, name in enumerate(names):
        picture(tmp_path / name / "0.png", i)
    values, labels, classes = seen(tmp_path)
    assert classes == tuple(order)
    assert labels == list(range(len(names)))
    assert [names[value] for value in values] == order


def hidden_folder(pets: Path) -> None:
    picture(pets / ".ipynb_checkpoints" / "0-checkpoint.png")
    picture(pets / "a" / ".ipynb_checkpoints" / "0-checkpoint.png")


def hidden_files(pets: Path) -> None:
    for name in (".DS_Store", "._0.png", "Thumbs.db"):
        (pets / "a" / name).write_bytes(b"no picture")


def macosx(pets: Path) -> None:
    picture(pets / "__MACOSX" / "a" / "0.png")


def stray(pets: Path) -> None:
    picture(pets / "preview.png")


def two_stray(pets: Path) -> None:
    picture(pets / "preview.png")
    picture(pets / "cover.JPG")


def empty_class(pets: Path) -> None:
    (pets / "c").mkdir()


def other_kinds(pets: Path) -> None:
    (pets / "labels.csv").write_text("a,b")
    (pets / "a" / "photo.heic").write_bytes(b"heic")


def pipe(pets: Path) -> None:
    os.mkfifo(pets / "a" / "9.png")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (hidden_folder, "2 (.ipynb_checkpoints, a/.ipynb_checkpoints) are left out: hidden, or the system's"),
        (hidden_files, "3 (a/.DS_Store, a/._0.png, a/Thumbs.db) are left out: hidden, or the system's"),
        (macosx, "1 (__MACOSX) is left out: hidden, or the system's"),
        (stray, "1 (preview.png) is left out: beside folders of classes they have no class"),
        (two_stray, "2 (cover.JPG, preview.png) are left out: beside folders of classes"),
        (empty_class, "1 (c) is left out: there is no picture in them"),
        (other_kinds, "2 (labels.csv, a/photo.heic) are left out: of a kind that is not read as a picture"),
        (pipe, "1 (a/9.png) is left out: no plain file"),
    ],
)
def test_what_is_no_example_is_left_out_and_counted(spoil: Callable[[Path], None], told: str, pets: Path, capsys: Any) -> None:
    assert seen(pets) == PETS
    assert capsys.readouterr().err == ""
    before = data.from_folder(pets).fingerprint
    spoil(pets)
    assert seen(pets) == PETS
    assert told in capsys.readouterr().err
    assert data.from_folder(pets).fingerprint == before


def test_links_are_followed(pets: Path) -> None:
    shutil.move(pets / "b", pets.parent / "elsewhere")
    (pets / "b").symlink_to(pets.parent / "elsewhere")
    (pets / "a" / "1.png").rename(pets.parent / "one.png")
    (pets / "a" / "1.png").symlink_to(pets.parent / "one.png")
    assert seen(pets) == PETS
    (pets.parent / "link").symlink_to(pets)
    assert seen(pets.parent / "link") == PETS


@pytest.mark.parametrize("target", [".", "..", "a"])
def test_a_circle_of_links_is_refused(pets: Path, target: str) -> None:
    (pets / "a" / "round").symlink_to(pets / target)
    with pytest.raises(UserError, match=r"round.* is a link to a folder that it lies in, a circle; remove the link\.$"):
        data.from_folder(pets)


@pytest.mark.parametrize("name", ["c", "a/9.png", "a/9.txt"])
def test_a_link_to_nothing_is_refused(pets: Path, name: str) -> None:
    (pets / name).symlink_to("/nowhere")
    with pytest.raises(UserError, match=rf"{name} cannot be read \(No such file or directory\); mend or remove it\.$"):
        data.from_folder(pets)


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".webp", ".bmp", ".gif", ".JPEG", ".jpg", ".ppm", ".tga", ".ico"])
def test_formats_beside_each_other_all_count(pets: Path, suffix: str) -> None:
    picture(pets / "a" / f"9{suffix}", 90, side=16)
    for old in pets.rglob("*.png"):
        picture(old, 3, side=16)
    values, labels, classes = seen(pets)
    assert (len(values), labels, classes) == (7, [0, 0, 0, 0, 1, 1, 1], ("a", "b"))
    assert abs(values[3] - 90) <= 2


def test_one_class_folder_is_a_class_and_deeper_ones_are_called_by_their_path(tmp_path: Path) -> None:
    picture(tmp_path / "one" / "cat" / "0.png")
    assert data.from_folder(tmp_path / "one").classes == {"label": ("cat",)}
    for name in ("bird/wild", "bird/tame/grey", "bird", "cat"):
        picture(tmp_path / "deep" / name / "0.png")
    assert data.from_folder(tmp_path / "deep").classes == {"label": ("bird", "bird/tame/grey", "bird/wild", "cat")}


def test_names_that_are_no_utf8_can_be_read_and_printed(tmp_path: Path, capsys: Any) -> None:
    root = os.fsencode(tmp_path) + b"/caf\xe9"
    os.makedirs(root + b"/\xff")
    for name in (b"/\xff/0.png", b"/\xff/1.png"):
        shutil.copy(picture(tmp_path / "x.png"), root + name)
    (Path(os.fsdecode(root)) / os.fsdecode(b"\xfe.txt")).write_text("")
    source = data.from_folder(Path(os.fsdecode(root)))
    assert source.gather(np.arange(2))["label"].tolist() == [0, 0]
    assert source.classes == {"label": ("\\xff",)}
    json.dumps([source.name, source.classes]).encode()
    assert "\\xfe.txt" in capsys.readouterr().err
    Path(os.fsdecode(root + b"/\xff/1.png")).write_bytes(b"torn")
    with pytest.raises(UserError) as caught:
        data.from_folder(Path(os.fsdecode(root))).gather(np.arange(2))
    assert "caf\\xe9/\\xff/1.png cannot be read" in str(caught.value).encode("utf-8").decode()


NAMES = st.sampled_from(["a", "b", "B", "10", "9", "x y", "é", "a.png", "deep/er", "deep"])


PICTURES = st.builds(
    dict,
    place=NAMES,
    suffix=st.sampled_from([".png", ".PNG", ".tif", ".bmp", ".webp"]),
    mode=st.sampled_from(["L", "RGB", "RGBA", "LA", "I;16"]),
    turn=st.sampled_from([1, 3, 6]),
    link=st.booleans(),
    seed=st.integers(0, 9),
)


JUNK = st.lists(st.sampled_from([".hidden/0.png", "a/.x.png", "a/notes.txt", "a/Thumbs.db", "__MACOSX/0.png"]), max_size=3)


def put(path: Path, how: dict[str, Any]) -> np.ndarray:
    """Writes a picture, and says what it shows."""
    rng = np.random.default_rng(how["seed"])
    mode = how["mode"]
    if path.suffix.lower() != ".png" and mode in ("LA", "I;16", "RGBA"):
        mode = "RGB"
    channels = {"L": 1, "RGB": 3, "RGBA": 4, "LA": 2, "I;16": 1}[mode]
    pixels = rng.integers(0, 65536 if mode == "I;16" else 256, (4, 4, channels), dtype=np.uint16)
    shown = pixels.astype(np.float64)
    if mode == "I;16":
        shown = np.floor(shown / 256)
    if mode in ("LA", "RGBA"):
        alpha = shown[..., -1:] / 255
        shown = np.round(alpha * shown[..., :-1] + (1 - alpha) * 255)
    shown = np.broadcast_to(shown, (4, 4, 3))
    stored = pixels if mode == "I;16" else pixels.astype(np.uint8)
    exif, extra = Image.Exif(), {}
    if path.suffix.lower() in (".png", ".webp"):
        exif[0x0112] = how["turn"]
        extra = {"exif": exif} | ({"lossless": True} if path.suffix == ".webp" else {})
        shown = {1: shown, 3: shown[::-1, ::-1], 6: np.rot90(shown, -1)}[how["turn"]]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored[..., 0] if channels == 1 else stored).save(path, **extra)
    return shown


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PICTURES, min_size=1, max_size=6), JUNK)
def test_any_folder_is_read_as_by_hand(tmp_path_factory: pytest.TempPathFactory, wanted: list[dict], junk: list[str]) -> None:
    base = tmp_path_factory.mktemp("fuzz")
    root, away = base / "root", base / "away"
    expected: dict[str, list[tuple[str, np.ndarray]]] = {}
    for i, how in enumerate(wanted):
        name = f"{i}{how['suffix']}"
        path = root / how["place"] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = put(away / name if how["link"] else path, how)
        if how["link"]:
            path.symlink_to(away / name)
        expected.setdefault(how["place"], []).append((name, shown))
    for name in junk:
        if name.split("/")[0] in (".hidden", "__MACOSX") or "a" in expected:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"junk")
    places = list(expected)
    order = sorted(places, key=int) if all(p.isdecimal() for p in places) else sorted(places, key=lambda p: p.split("/"))
    source = data.from_folder(root)
    batch = source.gather(np.arange(source.length))
    assert source.classes["label"] == tuple(order)
    assert batch["label"].tolist() == [i for i, place in enumerate(order) for _ in expected[place]]
    rows = [shown for place in order for _, shown in sorted(expected[place], key=lambda pair: pair[0])]
    np.testing.assert_array_equal(batch["image"], np.stack(rows))
