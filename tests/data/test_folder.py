"""Folders: what counts as an example, its class, what is left out and said; identity by contents. Oracle: a plain reading."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgen import data
from jaxgen.data import stamps
from jaxgen.data.cache import cache_folder
from jaxgen.errors import UserError


def picture(path: Path, value: int = 7, side: int = 4, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(path, **how)
    return path


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of three pictures."""
    monkeypatch.setenv("JAXGEN_CACHE", str(tmp_path / "cache"))
    for i, name in enumerate("ab"):
        for j in range(3):
            picture(tmp_path / "pets" / name / f"{j}.png", 10 * (3 * i + j))
    return tmp_path / "pets"


def seen(folder: Path) -> tuple[list[int], list[int] | None, tuple[str, ...]]:
    """Values, labels and names of the classes."""
    source = data.from_folder(folder)
    batch = source.gather(np.arange(source.length))
    labels = batch["label"].tolist() if "label" in batch else None
    return batch["image"][:, 0, 0, 0].tolist(), labels, source.classes.get("label", ())


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


# Identity


def fingerprint(folder: Path) -> str:
    return data.from_folder(folder).fingerprint


def test_a_copy_a_touch_and_a_renaming_are_the_same_set(pets: Path) -> None:
    before = fingerprint(pets)
    shutil.copytree(pets, pets.parent / "copy", copy_function=shutil.copyfile)
    os.utime(pets / "a" / "0.png", ns=(5, 5))
    (pets / "a" / "2.png").rename(pets / "a" / "3.png")
    assert fingerprint(pets) == fingerprint(pets.parent / "copy") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda pets: picture(pets / "a" / "0.png", 1),
        lambda pets: (pets / "a" / "0.png").unlink(),
        lambda pets: (pets / "a" / "0.png").rename(pets / "b" / "9.png"),
        lambda pets: (pets / "a").rename(pets / "c"),
        lambda pets: (pets / "a" / "0.png").rename(pets / "a" / "9.png"),  # another order
    ],
)
def test_other_contents_classes_or_orders_are_another_set(pets: Path, change: Callable[[Path], Any]) -> None:
    before = fingerprint(pets)
    change(pets)
    assert fingerprint(pets) != before


@pytest.mark.parametrize("by", ["writing", "renaming", "copying"])
def test_other_contents_of_the_same_size_and_times_are_noticed(pets: Path, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "SETTLED", 0.0)  # so that stamps are kept at once
    path = picture(pets / "a" / "0.bmp", 1)
    os.utime(path, ns=(0, 0))
    time.sleep(0.05)  # some ticks of the file system's clock
    before, size = fingerprint(pets), path.stat().st_size
    other = picture(pets.parent / "other.bmp", 2)
    os.utime(other, ns=(0, 0))
    {
        "writing": lambda: path.write_bytes(other.read_bytes()),
        "renaming": lambda: other.rename(path),
        "copying": lambda: shutil.copy2(other, path),
    }[by]()
    os.utime(path, ns=(0, 0))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (size, 0)
    assert fingerprint(pets) != before
    assert 2 in seen(pets)[0]


def test_a_cache_is_never_that_of_files_that_were_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXGEN_CACHE", str(tmp_path / "cache"))
    for value in (10, 200, 10):
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        os.utime(picture(tmp_path / "set" / "train" / "0.bmp", value), ns=(0, 0))
        assert data.load(str(tmp_path / "set"), "train").gather(np.arange(1))["image"].max() == value


def test_a_file_that_is_replaced_while_it_is_in_use_is_refused_and_a_touched_one_is_not(pets: Path) -> None:
    source = data.from_folder(pets)
    os.utime(pets / "a" / "0.png")
    source.gather(np.arange(6))
    picture(pets / "a" / "0.png", 99)
    with pytest.raises(UserError, match=r"a/0\.png was changed while it was in use; give the same command again\.$"):
        source.gather(np.arange(6))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    real = stamps._hash
    monkeypatch.setattr(stamps, "_hash", lambda path, own: (read.append(path), real(path, own))[1])
    return read


def test_what_was_hashed_is_not_read_again_unless_it_changed(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = counted(monkeypatch)
    monkeypatch.setattr(stamps, "SETTLED", 0.0)
    first = fingerprint(pets)
    assert len(read) == 6
    assert fingerprint(pets) == first
    assert len(read) == 6
    os.utime(pets / "a" / "0.png")
    assert fingerprint(pets) == first
    assert read[6:] == [str(pets / "a" / "0.png")]


def test_a_file_that_changed_a_moment_ago_is_not_trusted_to_be_the_same(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = counted(monkeypatch)
    assert fingerprint(pets) == fingerprint(pets)
    assert len(read) == 12


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-40]),
        lambda file: file.write_text("[]"),
        lambda file: file.write_text('{"format": 1, "files": {"a": 3}, "sum": ""}'),
        lambda file: file.write_text(file.read_text().replace('"format": 1', '"format": 2')),
        lambda file: (file.unlink(), file.mkdir()),
        lambda file: file.write_text("".join({"a": "b", "b": "a"}.get(c, c) for c in file.read_text())),
    ],
)
def test_a_damaged_memory_costs_reading_the_files_again(
    pets: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], Any]
) -> None:
    monkeypatch.setattr(stamps, "SETTLED", 0.0)
    first = fingerprint(pets)
    (memory,) = (cache_folder() / "stamps").iterdir()
    damage(memory)
    read = counted(monkeypatch)
    assert fingerprint(pets) == first
    assert len(read) == 6


# Fuzzing: what a folder gives is what a plain reading of what was put there says.

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


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
