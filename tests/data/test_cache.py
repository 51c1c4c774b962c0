"""Caches: the same examples, and nothing left behind when one cannot be written."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen import data
from jaxgen.data import cache
from jaxgen.errors import UserError

N, ROWS = 100, 16


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "ROWS", ROWS)
        yield


class Rows(NamedTuple):
    """Images, numbers, and texts that grow, so that a chunk's widest is not the set's."""

    seed: int = 0

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> dict[str, Any]:  # type: ignore[override]
        rng = np.random.default_rng([self.seed, i])
        return {
            "image": rng.integers(0, 256, (4, 5, 3), dtype=np.uint8),
            "label": int(rng.integers(10)),
            "weight": np.float32(rng.normal()),
            "caption": b"ab" * int(rng.integers(1 + i)),
            "name": "ü" * int(rng.integers(1 + i)),
        }


def rows(seed: int = 0) -> data.Source:
    classes = {"label": tuple("0123456789")}
    return data.from_examples(Rows(seed), name="rows/1.0.0 train[:100]", fingerprint=f"f{seed}", classes=classes)


def entries(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def refused(source: data.Source, folder: Path) -> str:
    """The sentence."""
    with pytest.raises(UserError) as caught:
        data.cached(source, folder=folder)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[data.Source, data.Source]:
    return rows(), data.cached(rows(), folder=tmp_path_factory.mktemp("cache"))


@given(st.lists(st.integers(0, N - 1), min_size=1, max_size=50))
def test_a_cached_batch_equals_the_streamed_one_bit_for_bit(both: tuple[data.Source, data.Source], indices: list[int]) -> None:
    streamed, stored = (source.gather(np.array(indices)) for source in both)
    assert streamed.keys() == stored.keys()
    for feature, a in streamed.items():
        assert a.tolist() == stored[feature].tolist()
        assert a.dtype.kind == stored[feature].dtype.kind
        if a.dtype.kind not in "SU":  # the width of a text array is the batch's when streamed
            assert a.dtype == stored[feature].dtype
            assert a.tobytes() == stored[feature].tobytes()


def test_a_cache_is_the_source_by_name_fingerprint_length_and_classes(both: tuple[data.Source, data.Source]) -> None:
    streamed, stored = both
    assert streamed._replace(gather=stored.gather, digest=stored.digest) == stored


def test_a_cache_is_written_once(tmp_path: Path) -> None:
    data.cached(rows(), folder=tmp_path)

    def refuse(indices: np.ndarray) -> dict[str, np.ndarray]:
        raise AssertionError("the examples are decoded again")

    assert data.cached(rows()._replace(gather=refuse), folder=tmp_path).gather(np.array([1]))["image"].shape == (1, 4, 5, 3)
    assert entries(tmp_path) == ["rows_1.0.0_train_100_-f0"]


def test_a_changed_set_is_not_read_from_the_old_cache(tmp_path: Path) -> None:
    old, new = (data.cached(rows(seed), folder=tmp_path).gather(np.arange(N)) for seed in (0, 1))
    np.testing.assert_array_equal(new["image"], rows(1).gather(np.arange(N))["image"])
    assert (old["image"] != new["image"]).any()
    assert len(entries(tmp_path)) == 2


def test_the_default_folder_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXGEN_CACHE", str(tmp_path / "mine"))
    data.cached(rows())
    assert len(entries(tmp_path / "mine")) == 1
    monkeypatch.delenv("JAXGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "jaxgen"


def test_a_group_can_share_a_cache(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        data.cached(rows(), folder=tmp_path)
    finally:
        os.umask(mask)
    (folder,) = tmp_path.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o640}


def test_a_disk_without_room_is_one_sentence_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1))
    text = refused(rows(), tmp_path)
    assert text.startswith(f"Caching rows/1.0.0 train[:100] takes 0 MiB and {tmp_path} has 0 MiB free: free space")
    assert "JAXGEN_CACHE" in text
    assert entries(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", [(os, "posix_fallocate"), (np.lib.format, "open_memmap")], ids=lambda call: call[1])
def test_a_disk_that_fills_up_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[Any, str], code: int
) -> None:
    function, calls = getattr(*call), iter(range(100))

    def third_fails(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 2:
            raise OSError(code, os.strerror(code))
        return function(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(*call, third_fails)
        text = refused(rows(), tmp_path)
    assert text.startswith(f"The disk filled up while caching rows/1.0.0 train[:100] in {tmp_path}: free space")
    assert entries(tmp_path) == []
    assert data.cached(rows(), folder=tmp_path).length == N


@pytest.mark.parametrize("feature", ["image", "caption"])
def test_a_disk_that_is_really_full_is_one_sentence_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature: str) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    value = {"image": np.zeros((N, 50, 60, 3), np.uint8), "caption": np.full(N, b"x" * 9000)}[feature]
    # As when others fill the disk while this one writes.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 40))
    try:
        assert refused(data.from_arrays({feature: value}), tmp_path).startswith("The disk filled up while caching arrays in")
        assert entries(tmp_path) == []
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)  # the traceback still maps it


def test_a_system_without_fallocate_writes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    stored = data.cached(rows(), folder=tmp_path).gather(np.arange(N))
    np.testing.assert_array_equal(stored["image"], rows().gather(np.arange(N))["image"])


def test_a_folder_that_cannot_be_written_is_one_sentence() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # nobody: root writes everywhere
        try:
            text = refused(rows(), Path(name))
        finally:
            os.seteuid(user)
        assert text.startswith(f"The cache folder {name} cannot be written (Permission denied): free space")
        assert entries(Path(name)) == []


def test_a_file_in_the_folders_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert refused(rows(), folder).startswith(f"The cache folder {folder} cannot be written (")


def interrupt(chunks: Iterable[int], description: str) -> Iterator[int]:
    yield from list(chunks)[:3]
    raise KeyboardInterrupt


def test_an_interrupted_write_leaves_nothing_and_the_next_one_succeeds(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        data.cached(rows(), folder=tmp_path, track=interrupt)
    assert entries(tmp_path) == []
    stored = data.cached(rows(), folder=tmp_path).gather(np.arange(N))
    np.testing.assert_array_equal(stored["image"], rows().gather(np.arange(N))["image"])


def test_two_processes_may_write_one_cache_at_once(tmp_path: Path) -> None:
    # Each waits for the other's scratch folder before it goes on.
    code = """
import pathlib, sys, time
import numpy as np
from jaxgen import data
folder = pathlib.Path(sys.argv[1])
def track(chunks, description):
    until = time.time() + 60
    while len(list(folder.glob(".*"))) < 2 and not list(folder.glob("[!.]*")) and time.time() < until:
        time.sleep(0.01)
    return chunks
source = data.from_arrays({"x": np.arange(3000), "t": np.arange(3000).astype("S")}, name="both")
stored = data.cached(source, folder=folder, track=track)
print((stored.gather(np.arange(3000))["t"].astype(int) == np.arange(3000)).all())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [process.communicate(timeout=120) for process in processes]
    assert [out for out, _ in outs] == ["True\n", "True\n"], outs
    assert [name[:5] for name in entries(tmp_path)] == ["both-"]


@pytest.mark.parametrize("change", [lambda a: a[:1, :1], lambda a: a[:2], lambda a: a.astype(np.int64)])
def test_a_later_chunk_of_another_shape_or_type_is_one_sentence(tmp_path: Path, change: Any) -> None:
    images = [np.full((4, 4, 3), i, np.uint8) for i in range(N)]
    images[2 * ROWS : 3 * ROWS] = [change(a) for a in images[2 * ROWS : 3 * ROWS]]
    source = data.from_examples([{"image": a} for a in images], name="odd", fingerprint="f")
    assert refused(source, tmp_path).startswith("odd has examples of different shapes (image (4, 4, 3) uint8, (")
    assert entries(tmp_path) == []


def test_examples_of_different_shapes_or_nested_ones_have_no_size() -> None:
    uneven = [{"x": np.zeros(1 + i)} for i in range(3)]
    nested = [{"x": {"y": 1}}] * 3
    assert [cache.cached_bytes(data.from_examples(e, name="", fingerprint="")) for e in (uneven, nested)] == [None, None]
    assert cache.cached_bytes(data.from_arrays({"x": np.zeros((3, 4), np.float32), "y": np.zeros(3, "S5")})) == 3 * (16 + 5)
