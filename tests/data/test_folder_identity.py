"""Folders: the same set is known by its contents, wherever it lies, and another one is noticed."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import picture, seen

from jaxgen import data
from jaxgen.data import stamps
from jaxgen.data.cache import cache_folder
from jaxgen.errors import UserError


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
