"""A filter of orbax's and tensorstore's messages about errors that jaxgen reports itself."""

import logging
import os
import sys
import traceback
import warnings
from types import TracebackType
from typing import Any


def hush() -> None:
    """Keeps to itself what orbax's and tensorstore's threads say of an error that is raised here as well, or was already."""
    if getattr(sys.unraisablehook, "hushed", False):
        return
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_worth_telling)
    # Reads that it had not begun; the hook below has them where warnings are errors.
    warnings.filterwarnings("ignore", r"coroutine '_read_array\w*' was never awaited", RuntimeWarning)
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        coroutine = getattr(getattr(unraisable.object, "cr_code", None), "co_filename", "")
        if str(unraisable.exc_value) != "Event loop is closed" and not _of_orbax(coroutine, unraisable.exc_traceback):
            before(unraisable)

    hook.hushed = True  # type: ignore[attr-defined]
    sys.unraisablehook = hook


def _worth_telling(record: logging.LogRecord) -> bool:
    trace = record.exc_info[2] if record.exc_info else None
    # Futures of tensorstore fail in no line of Python, or in asyncio's one that waits for what is no coroutine.
    functions = {frame.f_code.co_name for frame, _ in traceback.walk_tb(trace)}
    of_tensorstore = record.name == "asyncio" and record.exc_info is not None and functions <= {"_wrap_awaitable"}
    return record.levelno < logging.ERROR or not (of_tensorstore or _of_orbax(record.pathname, trace))


def _of_orbax(path: str, trace: TracebackType | None) -> bool:
    files = [path, *(frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace))]
    return any(f"{os.sep}orbax{os.sep}" in file for file in files)
