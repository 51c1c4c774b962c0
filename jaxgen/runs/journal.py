"""The journal of a run: the values, pictures and alarms that it writes to `metrics.jsonl`, TensorBoard and Weights & Biases."""

import contextlib
import hashlib
import json
import os
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from jaxgen import disk
from jaxgen.errors import UserError


class Writer(Protocol):
    """Somewhere that values and pictures go."""

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Writes a line of values."""

    def picture(self, step: int, name: str, path: Path) -> None:
        """Shows a picture that was written to `path`."""

    def alarm(self, step: int, sentence: str) -> None:
        """Shows the sentence of an alarm; where values alone are written, they say it."""

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
        with _explained(path):
            if path.exists():
                kept = read_jsonl(path, until=start)
                disk.write(path, "".join(json.dumps(line) + "\n" for line in kept))
            # Unbuffered: what the disk refused once is not tried again on closing.
            self._file = path.open("ab", buffering=0)

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        with _explained(self._file.name):
            _write(self._file, (json.dumps({"step": step, "split": split, **values}) + "\n").encode())

    def picture(self, step: int, name: str, path: Path) -> None:
        pass

    def alarm(self, step: int, sentence: str) -> None:
        pass

    def sync(self) -> None:
        with _explained(self._file.name):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _explained(path: Path | str) -> contextlib.AbstractContextManager[None]:
    return disk.explained(f"Writing {path}", disk.GO_ON)


def _write(file: Any, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]


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


class TensorBoard:
    """Event files that TensorBoard reads, written without TensorFlow.

    Of tensorboardX only the messages: its writer's thread ends on a full disk, and what waits for the thread waits for ever.
    """

    def __init__(self, folder: Path, *, start: int) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog

        with _explained(folder):
            folder.mkdir(exist_ok=True)
            # TensorBoard reads in the order of the names: a later file has the higher number, whatever the clock says.
            numbers = [int(n) for p in folder.glob("events.out.tfevents.*") if (n := p.name.split(".")[3]).isdigit()]
            number = max([int(time.time()), *(n + 1 for n in numbers)])
            self._file = (folder / f"events.out.tfevents.{number:010}.{socket.gethostname()}").open("xb", buffering=0)
        self._event(file_version="brain.Event:2")
        if numbers:  # TensorBoard forgets what a run that died wrote beyond the checkpoint
            self._event(step=start + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        tagged = [Summary.Value(tag=f"{split}/{name}", simple_value=value) for name, value in values.items()]
        self._event(step=step, summary=Summary(value=tagged))

    def picture(self, step: int, name: str, path: Path) -> None:
        from PIL import Image
        from tensorboardX.proto.summary_pb2 import Summary

        with Image.open(path) as image:
            width, height = image.size
        shown = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=path.read_bytes())
        self._event(step=step, summary=Summary(value=[Summary.Value(tag=name, image=shown)]))

    def alarm(self, step: int, sentence: str) -> None:
        from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboardX.proto.tensor_pb2 import TensorProto

        # What TensorBoard shows on its page of texts.
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        text = TensorProto(dtype="DT_STRING", string_val=[sentence.encode()])
        self._event(step=step, summary=Summary(value=[Summary.Value(tag="alarms", metadata=metadata, tensor=text)]))

    def sync(self) -> None:
        pass

    def close(self) -> None:
        self._file.close()

    def _event(self, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import masked_crc32c

        data = Event(wall_time=time.time(), **content).SerializeToString()
        length = struct.pack("<Q", len(data))
        checks = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
        with _explained(self._file.name):
            _write(self._file, length + checks[0] + data + checks[1])


def import_wandb() -> Any:
    """The package, or a sentence where it is absent."""
    try:
        import wandb
    except ImportError:
        raise UserError('--wandb needs the package wandb: `pip install "jaxgen[wandb]"`.') from None
    return wandb


class WandB:
    """Weights & Biases, by its own library (`pip install "jaxgen[wandb]"`); `WANDB_MODE=offline` works as it does there."""

    def __init__(self, project: str, folder: Path, config: Mapping[str, Any]) -> None:
        wandb = import_wandb()
        self._wandb = wandb
        # The id is the folder's, so that a resumed run goes on in the same chart.
        name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        self._run = wandb.init(project=project, dir=folder, config=dict(config), id=name, resume="allow")

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self._run.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    def picture(self, step: int, name: str, path: Path) -> None:
        self._run.log({name: self._wandb.Image(str(path))}, step=step)

    def alarm(self, step: int, sentence: str) -> None:
        self._run.alert(title="An alarm of the run", text=sentence)

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

    def alarm(self, step: int, sentence: str) -> None:
        """Reports the sentence of an alarm."""
        for writer in self._writers:
            writer.alarm(step, sentence)

    def sync(self) -> None:
        """Brings to the disk what was reported."""
        for writer in self._writers:
            writer.sync()

    def close(self) -> None:
        """Flushes everything."""
        for writer in self._writers:
            writer.close()
