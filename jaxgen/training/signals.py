"""Ctrl-C, SIGTERM and a closed terminal: after one signal the loop saves and ends; after a second Ctrl-C it ends at once."""

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NoReturn

from jaxgen import progress
from jaxgen.devices import hosts, waiting


class Stopped(Exception):  # noqa: N818 - no error
    """Unwinds the loop after a request to stop."""


class StopRequest:
    """Notes SIGINT, SIGTERM and SIGHUP while its `with` block runs; a second SIGINT raises KeyboardInterrupt where it arrives.

    What is ignored stays ignored, as `nohup` and a shell's `&` ask.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._previous: dict[int, Any] = {}
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> "StopRequest":
        self._resources.enter_context(waiting.stopped_by(self._check_urgent))
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(signum) != signal.SIG_IGN:
                    self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum
        with contextlib.suppress(RuntimeError):  # it came in the middle of a line
            progress.say("Stopping: saving first (Ctrl-C again leaves at once).")

    @property
    def urgent(self) -> bool:
        """Whether a signal has come that can be followed at once: several hosts have to agree first, where they meet."""
        return self.signum is not None and hosts.shard()[1] == 1

    def check(self) -> None:
        """Raises Stopped if a signal has come, to any of the hosts."""
        self.signum = hosts.max_over_hosts(self.signum or 0) or None
        if self.signum is not None:
            raise Stopped

    def _check_urgent(self) -> None:
        if self.urgent:
            raise Stopped

    def track(self, quiet: bool) -> progress.Track:
        """A progress bar that a signal stops."""

        def track(iterable: Iterable[Any], *, description: str, total: int | None = None) -> Iterator[Any]:
            for item in progress.track(iterable, description=description, total=total, quiet=quiet):
                self._check_urgent()
                yield item

        return track

    def leave(self) -> NoReturn:
        """Ends as the signal asks: KeyboardInterrupt, or SystemExit with 143 after SIGTERM and 129 after SIGHUP."""
        if self.signum is None or self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.signum)
