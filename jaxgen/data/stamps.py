"""Hashes of files, SHA-256 over every byte; a file that was hashed before and has not changed is not read again.

A stamp is a file's size, times, inode and device. An equal stamp says "the same"; another one says nothing, and the file is
read. Writing to a file, replacing it and setting its times back all change the time of its last status change, which no
program can set.
"""

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from jaxgen.data.cache import cache_folder
from jaxgen.errors import UserError

SETTLED = 2.0
"""Seconds within which a changed file could change again in one tick of its clock: its stamp is not kept."""

FORMAT = 1

Stamp = tuple[int, ...]
Track = Callable[[Iterable[int], str], Iterable[int]]


def stamp(found: os.stat_result) -> Stamp:
    """The stamp of a file: size, times, inode and device."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def sha256(content: bytes) -> str:
    """A hash of some bytes, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def hashes(root: Path, files: Sequence[tuple[str, Stamp]], *, track: Track | None = None) -> list[str]:
    """The SHA-256 of every file.

    Args:
      root: the folder that the files belong to; what is remembered of them is kept by its place.
      files: path and stamp of each.
      track: a function that wraps the numbers of the files to read with a progress bar; it is given the iterable and a
        description.

    Returns:
      64 hexadecimal digits per file.

    Raises:
      UserError: if a file cannot be read.
    """
    place = os.path.abspath(root)
    memory = cache_folder() / "stamps" / f"{sha256(os.fsencode(place))[:32]}.json"
    known = _recall(memory)
    found = [value[-1] if (value := known.get(path)) and tuple(value[:-1]) == own else None for path, own in files]
    unread = [i for i, value in enumerate(found) if value is None]
    now = time.time_ns()
    kept = {path: [*own, value] for (path, own), value in zip(files, found, strict=True) if value is not None}
    for i in track(unread, f"hashing {place}") if track is not None and len(unread) > 1000 else unread:
        path, own = files[i]
        found[i], unchanged = _hash(path, own)
        if unchanged and max(own[1:3]) < now - SETTLED * 1e9:
            kept[path] = [*own, found[i]]
    if kept != known:
        _remember(memory, kept)
    return [value for value in found if value is not None]


def _hash(path: str, own: Stamp) -> tuple[str, bool]:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return digest, stamp(os.fstat(file.fileno())) == own
    except OSError as error:
        told = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise UserError(f"{told} cannot be read ({error.strerror}); mend or remove it.") from None


def _recall(memory: Path) -> dict[str, list]:
    """The remembered hashes; none where their file is missing or damaged: it only costs reading the files again."""
    try:
        told, _, text = memory.read_text(encoding="utf-8").partition("\n")
        if told != sha256(text.encode()):  # a bit that flipped in the memory itself must not stand for a hash
            return {}
        record = json.loads(text)
        files = record["files"]
        whole = record["format"] == FORMAT and all(
            isinstance(value, list) and len(value) == 6 and isinstance(value[-1], str) and len(value[-1]) == 64
            for value in files.values()
        )
        return files if whole else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _remember(memory: Path, files: dict[str, list]) -> None:
    scratch = memory.with_name(f".{memory.name}-{uuid.uuid4().hex[:12]}")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, "files": files})
        scratch.write_text(f"{sha256(text.encode())}\n{text}", encoding="utf-8")
        os.replace(scratch, memory)
    except OSError:  # a memory that cannot be kept costs time and nothing else
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
