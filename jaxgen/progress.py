"""Progress on the standard error: lines, progress bars, and the bar of a training."""

import contextlib
import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm


class _Stderr:
    """The standard error, which may be lost: a run does not end because nobody reads it any more."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> None:
        with self._lossy():
            sys.stderr.write(text)

    def flush(self) -> None:
        with self._lossy():
            sys.stderr.flush()

    @contextlib.contextmanager
    def _lossy(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO):  # `| tee`, or a terminal, that has gone
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


STDERR: Any = _Stderr()


def track(iterable: Iterable[Any], *, description: str, total: int | None = None, quiet: bool = False) -> Iterator[Any]:
    """The iterable, with a progress bar that disappears at its end."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    style = {"leave": False, "mininterval": pause(), "delay": 0.5, "dynamic_ncols": True, "file": STDERR}
    yield from tqdm(iterable, desc=description, total=total, disable=quiet, **style)


def pause() -> float:
    """Seconds between two states of a bar: few where it is redrawn in its place, in a terminal or a notebook."""
    notebook = type(sys.stderr).__module__.startswith("ipykernel")
    return 0.2 if sys.stderr.isatty() or notebook else 30.0


@runtime_checkable
class Track(Protocol):
    """Shows the progress over an iterable, and may stop it."""

    def __call__(self, iterable: Iterable[Any], *, description: str, total: int | None = None) -> Iterable[Any]: ...


@contextlib.contextmanager
def muted(logger: str) -> Iterator[None]:
    """Keeps a library's logger below errors for a while."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def say(text: str) -> None:
    """Prints a line to stderr without tearing a progress bar."""
    tqdm.write(text, file=STDERR)


class Bar(tqdm):
    """The progress bar of a training, redrawn in terminals and notebooks; in a log file a line each half minute.

    Its rate and its ETA are those of the training steps alone. Other work that takes time (compiling, evaluating, drawing,
    saving) is done within `beside`, which says so in the bar and stops its clock.

    >>> bar = Bar(total=10, quiet=True)
    >>> with bar.beside("compiling"):
    ...     before = bar.clock()
    >>> bar.clock() - before < 1.0
    True
    """

    def __init__(
        self, *, total: int, initial: int = 0, quiet: bool = False, now: Callable[[], float] = time.perf_counter
    ) -> None:
        """A bar of steps.

        Args:
          total: steps of the whole training.
          initial: steps that were taken before, by the run that goes on.
          quiet: whether there is no bar, and only the clock.
          now: the time in seconds.
        """
        self._now, self._stopped = now, 0.0
        self._since: float | None = None
        super().__init__(
            desc="training",
            total=total,
            initial=initial,
            unit="step",
            disable=quiet,
            mininterval=pause(),
            miniters=1,
            dynamic_ncols=True,
            file=STDERR,
        )
        # tqdm tells the time by this attribute; it was set, and used, while the bar was made.
        self._time = self.clock
        if not quiet:
            self.start_t = self.last_print_t = self.clock()

    def clock(self) -> float:
        """Seconds of training: the time, without what was spent within `beside`."""
        return (self._now() if self._since is None else self._since) - self._stopped

    @contextlib.contextmanager
    def beside(self, what: str) -> Iterator[None]:
        """While the context lasts, the bar says what is done instead of training, and its clock stands still.

        Args:
          what: the other work, such as "compiling".
        """
        if self._since is not None:  # within another
            with self._says(what):
                yield
            return
        self._since = since = self._now()
        try:
            with self._says(what):
                yield
        finally:
            self._stopped += self._now() - since
            self._since = None

    def says(self, what: str) -> None:
        """Says something else, at once."""
        self.set_description_str(what)

    @contextlib.contextmanager
    def _says(self, what: str) -> Iterator[None]:
        before = getattr(self, "desc", "")
        self.says(what)
        try:
            yield
        finally:
            # Not drawn: the next step does that.
            self.set_description_str(before.removesuffix(": "), refresh=False)
