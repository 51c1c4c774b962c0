"""Decode once: a source's examples as memory-mapped arrays on disk, from which whole batches are gathered."""

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from jaxgen import disk
from jaxgen.data.source import Source, digest, over
from jaxgen.errors import UserError

ROWS = 1024  # decoded at a time: bounds the memory and paces the progress bar


def cache_folder() -> Path:
    """The folder of the caches: `$JAXGEN_CACHE`, or `jaxgen` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxgen"
    return Path(os.environ.get("JAXGEN_CACHE") or default)


def cached_bytes(source: Source) -> int | None:
    """Bytes that a cache of the source takes; None if its examples differ in shape or nest and so cannot be cached."""
    try:
        example = source.gather(np.linspace(0, source.length - 1, min(source.length, 8)).astype(np.int64))
    except UserError:
        return None
    if any(a.dtype.kind == "O" for a in example.values()):
        return None
    return sum(a.itemsize * int(np.prod(a.shape[1:])) for a in example.values()) * source.length


def cached(
    source: Source, *, folder: Path | None = None, track: Callable[[Iterable[int], str], Iterable[int]] | None = None
) -> Source:
    """The same examples out of a memory-mapped cache, written now if it does not exist yet.

    The cache is written to a temporary folder that is renamed when it is complete, so an interrupted or a concurrent write
    leaves nothing half done. Its name holds the source's fingerprint, so a changed dataset is never read from an old cache.

    Args:
      source: the source to decode; all of its examples have one shape.
      folder: the folder of the caches; None means `cache_folder()`.
      track: a function that wraps an iterable with a progress bar; it is given the iterable and a description.

    Returns:
      A source of the same name, fingerprint and examples, with a `digest`.

    Raises:
      UserError: if the disk is full, the folder cannot be written, or the cache that is there is damaged.
    """
    folder = folder or cache_folder()
    slug = re.sub(r"[^\w.=-]+", "_", source.name)[-80:]
    target = folder / f"{slug}-{source.fingerprint}"
    if not target.is_dir():
        _write(source, target, track or (lambda chunks, description: chunks))
    try:
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(target.glob("*.npy"))}
        if {len(a) for a in arrays.values()} != {source.length}:
            raise ValueError("examples are missing")
    except (OSError, ValueError, EOFError, TypeError) as error:  # NumPy's words for a torn file
        raise UserError(f"The cache {target} is damaged ({error}); delete it, and it is made again.") from None
    whole = over(
        arrays, name=source.name, fingerprint=source.fingerprint, classes=source.classes, digest=_digest(target, arrays)
    )
    sizes = [(a.base, a.base.size()) for a in arrays.values()]

    def gather(indices: np.ndarray) -> dict[str, np.ndarray]:
        # A page that a file has lost meanwhile ends the process without a word.
        if any(file.size() != size for file, size in sizes):
            raise UserError(f"The cache {target} was changed while it was in use; delete it, and it is made again.")
        return whole.gather(indices)

    return whole._replace(gather=gather)


def _digest(target: Path, arrays: dict[str, np.ndarray]) -> str:
    """The hash of a cache's examples, which lies in the same folder once it was computed."""
    file = target / "digest"
    try:
        known = file.read_text(encoding="ascii")
        if re.fullmatch("[0-9a-f]{32}", known):
            return known
    except (OSError, ValueError):
        pass
    found = digest(arrays)
    with contextlib.suppress(OSError):  # someone else's cache, which can be read only
        scratch = target / f".digest-{uuid.uuid4().hex[:12]}"
        scratch.write_text(found, encoding="ascii")
        scratch.replace(file)
    return found


def _write(source: Source, target: Path, track: Callable[[Iterable[int], str], Iterable[int]]) -> None:
    need = cached_bytes(source) or 0
    remedy = "free space, set JAXGEN_CACHE to a folder on another disk, or pass --cache-budget 0 to stream."
    scratch = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < need:
            raise UserError(
                f"Caching {source.name} takes {need / 2**20:.0f} MiB and {target.parent} has {free / 2**20:.0f} MiB free: "
                + remedy
            )
        scratch = target.parent / f".{target.name}-{uuid.uuid4().hex[:12]}"
        scratch.mkdir()  # not by tempfile, whose folders nobody else can read: a cache may be a group's
        columns: dict[str, list[np.ndarray]] = {}
        files: dict[str, np.memmap] = {}
        for start in track(range(0, source.length, ROWS), f"caching {source.name}"):
            chunk = source.gather(np.arange(start, min(start + ROWS, source.length)))
            for feature, rows in chunk.items():
                if rows.dtype.kind in "SU":  # text: its width is known when all of it was seen
                    columns.setdefault(feature, []).append(rows)
                    continue
                if feature not in files:
                    files[feature] = disk.mapped(scratch / f"{feature}.npy", rows.dtype, (source.length, *rows.shape[1:]))
                mapped = files[feature]
                if (mapped.dtype, mapped.shape[1:]) != (rows.dtype, rows.shape[1:]):
                    raise UserError(
                        f"{source.name} has examples of different shapes ({feature} {mapped.shape[1:]} {mapped.dtype}, "
                        f"{rows.shape[1:]} {rows.dtype}), which cannot be cached; `jaxgen data convert SET OUT.npz --size 64` "
                        "brings them to one size, and in Python give load() an `example_map` such as data.resize(64)."
                    )
                mapped[start : start + len(rows)] = rows
        for feature, parts in columns.items():
            text = np.concatenate(parts)
            files[feature] = disk.mapped(scratch / f"{feature}.npy", text.dtype, text.shape)
            files[feature][:] = text
        for mapped in files.values():
            mapped.flush()
        try:
            scratch.rename(target)
        except OSError:  # another process was faster
            if not target.is_dir():
                raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"The disk filled up while caching {source.name} in {target.parent}: {remedy}") from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR):
            raise UserError(f"The cache folder {target.parent} cannot be written ({error.strerror}): {remedy}") from None
        raise
    finally:
        if scratch is not None and scratch.is_dir():
            shutil.rmtree(scratch, ignore_errors=True)
