"""What every mistake of a user must end in: one sentence and an exit code, and nothing written."""

import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxgen.commands import command_line
from jaxgen.commands.main import main


def run(command: str, args: list[str]) -> None:
    """What a user types: `jaxgen ARGS`, or `python -m experiments.COMMAND ARGS`."""
    if command == "jaxgen":
        main(args)
    else:
        command_line.run_experiment(importlib.import_module(f"experiments.{command}").experiment, args)


def refused(capsys: pytest.CaptureFixture[str], call: Callable[[], object], code: int = 2) -> str:
    """The sentence that a mistake is answered with, after it was seen to be one."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        call()
    out, err = capsys.readouterr()
    assert caught.value.code == code, err
    assert "Traceback" not in out + err
    text = out + err
    if "helptext" in text:  # the parser's, in a frame
        return re.sub(r"[\s│─╭╮╰╯]+", " ", text)
    sentence = err.strip().splitlines()[-1]
    assert err.endswith("\n")
    assert len(sentence) < 400, sentence
    assert sentence.endswith((".", "`", "`.")), sentence
    return sentence


def answered(line: str, sentence: str, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """Types a line in an empty folder, and sees it answered by a sentence and nothing written.

    Args:
      line: `jaxgen ARGS`, or `NAME ARGS` of an experiment.
      sentence: a pattern of the sentence.
      capsys: pytest's capture of what is printed.
      folder: the current folder.
    """
    command, *args = shlex.split(line)
    told = refused(capsys, lambda: run(command, args))
    assert re.search(sentence, told), told
    assert files(folder) == []  # no workdir of a run that never was


def files(folder: Path) -> list[str]:
    """All that lies below a folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder, but not a lock, which says who had it last."""
    return {name: (folder / name).read_bytes() for name in files(folder) if (folder / name).is_file() and name[-5:] != ".lock"}
