"""What a run tells while it goes: progress bars, `metrics.jsonl`, TensorBoard, Weights & Biases."""

import contextlib
import hashlib
import json
import logging
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from tqdm import tqdm

from jaxgen import durable
from jaxgen.errors import UserError

Bar: TypeAlias = tqdm


def bar(*, description: str, total: int | None = None, initial: int = 0, unit: str = "it", quiet: bool = False) -> Bar:
    """A progress bar with rate and ETA on stderr; in a log file it draws a line every half minute."""
    return tqdm(
        desc=description,
        total=total,
        initial=initial,
        unit=unit,
        disable=quiet,
        mininterval=_pause(),
        dynamic_ncols=True,
    )


def track(iterable: Iterable[Any], *, description: str, total: int | None = None, quiet: bool = False) -> Iterator[Any]:
    """The iterable, with a progress bar that disappears when it is through."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    yield from tqdm(iterable, desc=description, total=total, leave=False, disable=quiet, mininterval=_pause(), delay=0.5)


def _pause() -> float:
    return 0.2 if sys.stderr.isatty() else 30.0


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
    tqdm.write(text, file=sys.stderr)


class Writer(Protocol):
    """Somewhere that values and pictures go."""

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Writes a line of values."""

    def picture(self, step: int, name: str, path: Path) -> None:
        """Shows a picture that was written to `path`."""

    def sync(self) -> None:
        """Brings to the disk what was written: a checkpoint that relies on it is about to be."""

    def close(self) -> None:
        """Flushes everything."""


class JsonLines:
    """`metrics.jsonl`: one object a line, `step`, `split`, then name: value.

    Opened at a step, it first drops what a run that died wrote beyond that step, and a last line that was torn: after a
    resume no line is there twice.
    """

    def __init__(self, path: Path, *, start: int) -> None:
        if path.exists():
            kept = read_jsonl(path, until=start)
            durable.write(path, "".join(json.dumps(line) + "\n" for line in kept))
        # Unbuffered: what the disk refused once is not tried again on closing.
        self._file = path.open("ab", buffering=0)

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        with durable.explained(f"Writing {self._file.name}", "free space, and give the same command again to go on."):
            rest = (json.dumps({"step": step, "split": split, **values}) + "\n").encode()
            while rest:
                rest = rest[self._file.write(rest) :]

    def picture(self, step: int, name: str, path: Path) -> None:
        pass

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_jsonl(path: Path, *, until: int | None = None) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, up to a step, without torn and damaged ones; a file that is not there has none."""
    lines: list[dict[str, Any]] = []
    if path.exists():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                line = json.loads(text)
                if isinstance(line, dict) and isinstance(line.get("step"), int) and isinstance(line.get("split"), str):
                    lines.append(line)
    return [line for line in lines if until is None or line["step"] <= until]


def evaluated(history: Iterable[Mapping[str, Any]], name: str) -> dict[int, float]:
    """The values that `split/name` had, by step, where they are finite."""
    split, _, metric = name.partition("/")
    values = {line["step"]: line[metric] for line in history if line["split"] == split and metric in line}
    return {step: value for step, value in values.items() if isinstance(value, float) and math.isfinite(value)}


class TensorBoard:
    """Event files that TensorBoard reads, written without TensorFlow."""

    def __init__(self, folder: Path, *, start: int) -> None:
        from tensorboardX import SummaryWriter

        # purge_step: TensorBoard forgets what a run that died wrote beyond the checkpoint.
        self._writer = SummaryWriter(str(folder), purge_step=start + 1 if start else None)

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{split}/{name}", value, step)

    def picture(self, step: int, name: str, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def sync(self) -> None:
        pass

    def close(self) -> None:
        self._writer.close()


class WandB:
    """Weights & Biases, by its own library (`pip install "jaxgen[wandb]"`); `WANDB_MODE=offline` works as it does there."""

    def __init__(self, project: str, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError('--wandb needs the package wandb: `pip install "jaxgen[wandb]"`.') from None
        self._wandb = wandb
        # The id is the folder's, so that a resumed run goes on in the same chart.
        name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        self._run = wandb.init(project=project, dir=folder, config=dict(config), id=name, resume="allow")

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self._run.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    def picture(self, step: int, name: str, path: Path) -> None:
        self._run.log({name: self._wandb.Image(str(path))}, step=step)

    def sync(self) -> None:
        pass

    def close(self) -> None:
        self._run.finish()


class Journal:
    """Everything that a run reports, in memory and to its writers."""

    def __init__(self, writers: Iterable[Writer] = (), history: Iterable[Mapping[str, Any]] = ()) -> None:
        self.history = [dict(line) for line in history]
        self._writers = list(writers)

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Reports a line of values."""
        self.history.append({"step": step, "split": split, **values})
        for writer in self._writers:
            writer.scalars(step, split, values)

    def picture(self, step: int, name: str, path: Path) -> None:
        """Reports a picture that was written to `path`."""
        for writer in self._writers:
            writer.picture(step, name, path)

    def sync(self) -> None:
        """Brings to the disk what was reported."""
        for writer in self._writers:
            writer.sync()

    def close(self) -> None:
        """Flushes everything."""
        for writer in self._writers:
            writer.close()
