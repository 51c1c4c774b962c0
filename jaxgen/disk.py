"""Files that outlive a crash: whole or not there, on the disk before anything relies on them; and a lock on a folder."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)

GO_ON = "free space, or mend what is said, and give the same command again: it goes on from its last checkpoint."
"""The end of the sentence where the disk refused a run in progress."""

MAKE_ROOM = "free space there, or set TMPDIR to a folder on another disk."
"""The end of the sentence where the disk refused a temporary file."""


def write(path: Path, text: str | bytes) -> None:
    """Replaces a file by text or bytes: after a crash, or a cut of the power, it holds the old text or the new, all of it."""
    scratch = path.with_name(f"{path.name}.tmp")
    try:
        with scratch.open("wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            # Before the rename: else the new name may outlive a cut of the power without what it names.
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(folder: Path) -> None:
    """Brings the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def claim(path: Path) -> None:
    """Has the disk set aside all bytes of a file.

    A file that was only made long has no place on the disk yet. Where such a file is mapped into memory and the disk is full,
    the system ends the process by a bus error when a page is written; after this call, a full disk is an `OSError` at once.

    Args:
      path: a file that has its full length already.

    Raises:
      OSError: ENOSPC or EDQUOT, if the disk has no room for it.
    """
    size = path.stat().st_size
    with path.open("r+b") as file:
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                    raise
        # A system, or a file system, that cannot: bytes that are written need a place as well. They are those that are there,
        # since a file may begin with a header.
        for start in range(0, size, 1 << 20):
            file.seek(start)
            block = file.read(1 << 20)
            file.seek(start)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def mapped(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """A new file in memory, to be written through the array; its place on the disk is claimed.

    Args:
      path: the path of the file: with the suffix `.npy` it begins with NumPy's header, else it holds the bare values.
      dtype: the dtype of the array.
      shape: the shape of the array, which has one element or more.

    Returns:
      The array, full of zeros.

    Raises:
      OSError: if the disk refuses; the file is then removed.
    """
    try:
        array: np.memmap
        if path.suffix == ".npy":
            array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        else:
            array = np.memmap(path, dtype, "w+", shape=shape)
        claim(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return array


@contextlib.contextmanager
def scratch(what: str) -> Iterator[Path]:
    """A temporary folder that ends with the context.

    Args:
      what: the use of the folder, as a noun: "the samples of runs/vae".

    Raises:
      UserError: if there is no room for one.
    """
    with explained(f"Making a temporary folder for {what}", MAKE_ROOM):
        folder = tempfile.TemporaryDirectory()
    with folder:
        yield Path(folder.name)


class Lock:
    """A lock that keeps a second process out of a folder; the system releases it when its holder ends for any reason."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        self._handle: int | None = None

    def take(self) -> bool:
        """Takes the lock, unless another has it."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError:  # a file system without locks: all that can be done there is to trust its users
            os.close(handle)
            return True
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())
        self._handle = handle
        return True

    def holder(self) -> str:
        """The process that has the lock, for a message."""
        try:
            holder = json.loads(self._path.read_text(encoding="utf-8"))
            return f"process {holder['process']} on {holder['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def release(self) -> None:
        """Releases the lock."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextlib.contextmanager
def explained(what: str, mend: str) -> Iterator[None]:
    """Turns what a disk refuses into one sentence.

    Args:
      what: the beginning of the sentence, which says what could not be done: "Saving step 5 in runs/vae".
      mend: the end of the sentence, which says what helps.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise UserError(f"{what} failed ({reason}): {mend}") from error


def refusal(error: BaseException | None) -> str | None:
    """Why the disk refused, where an error is that of a disk; storage libraries wrap the system's errors in their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return "the disk is full"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror.lower()
        text = str(error)
        for number in (*FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO):
            if os.strerror(number) in text:
                return "the disk is full" if number in FULL else os.strerror(number).lower()
        error = error.__cause__ or error.__context__
    return None
