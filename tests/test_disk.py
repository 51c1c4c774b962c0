"""Files and locks: what a disk keeps whole, what it refuses, and one writer at a time."""

import os
from pathlib import Path

import pytest
from games import fit, regression

from jaxgen import disk
from jaxgen.errors import UserError


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch) -> None:
    order: list[str] = []
    kept = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("fsync") or kept[0](handle))
    monkeypatch.setattr(os, "replace", lambda a, b: order.append("replace") or kept[1](a, b))
    disk.write(tmp_path / "a", "new")
    assert order == ["fsync", "replace", "fsync"]
    assert (tmp_path / "a").read_text() == "new"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    disk.write(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        disk.write(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"


def test_a_second_process_is_kept_off(tmp_path: Path) -> None:
    lock = disk.Lock(tmp_path)
    assert lock.take()
    with pytest.raises(UserError, match=rf"{tmp_path} is in use by process {os.getpid()} on .*; wait for it, stop it, or give"):
        fit(regression(steps=5), tmp_path)
    lock.release()
    fit(regression(steps=5), tmp_path)
    fit(regression(steps=10), tmp_path)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (OSError(30, "Read-only file system"), "read-only file system"),
        (ValueError("RESOURCE_EXHAUSTED: writing 5 bytes: No space left on device [os error 28]"), "the disk is full"),
        (ValueError("shapes differ"), None),
    ],
)
def test_what_a_disk_refuses_is_told_from_a_mistake_of_ours(error: Exception, reason: str | None) -> None:
    assert disk.refusal(error) == reason
    wrapped = RuntimeError("in the background")
    wrapped.__cause__ = error
    assert disk.refusal(wrapped) == reason
    with pytest.raises(UserError if reason else ValueError), disk.explained("Saving", "free space."):
        raise error
