"""Errors that a user can correct: one sentence that names the cause and the correction, and an exit code."""

import traceback
from pathlib import Path


class UserError(Exception):
    """A mistake or a circumstance that the user can correct; the command line prints it without a traceback."""

    exit_code = 2


class NotFiniteError(UserError):
    """The run produced a value that is not finite; nothing after the last checkpoint was saved."""

    exit_code = 3


class DamagedError(UserError):
    """A checkpoint that is not what was written: truncated, altered, or with a file missing."""


class SizeError(UserError, ValueError):
    """Sizes that do not go together: of images and kernels, channels and heads, a chain and its steps."""


class InputError(UserError, ValueError):
    """Values that a function cannot use: not finite, or labels that are no classes."""


class FewExamplesWarning(UserWarning):
    """A value was computed from fewer examples than it needs to mean what it is taken for."""


def described(error: BaseException) -> str:
    """An error in one line: what it says and, unless it is a `UserError`, its type and the line of code that raised it.

    >>> described(UserError("The disk is full."))
    'The disk is full'
    """
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text.rstrip(".")
    text = f"{text[:200]} ..." if len(text) > 200 else text
    frames = traceback.extract_tb(error.__traceback__)
    place = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{': ' + text if text else ''}{place}"
