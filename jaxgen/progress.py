"""How fast a training goes: a clock that stands still while something else is done, and the bar that goes by it."""

import contextlib
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from jaxgen import logs


class Bar(tqdm):
    """The progress bar of a training, redrawn in terminals and notebooks; in a log file a line each half minute.

    Its rate and its ETA are those of the training steps alone. What takes time beside them (compiling, evaluating, drawing,
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
            mininterval=logs.pause(),
            miniters=1,
            dynamic_ncols=True,
            file=logs.STDERR,
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
          what: such as "compiling".
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
