"""The command line of an experiment: its function's keyword arguments, joined by those of `fit`."""

import contextlib
import errno
import hashlib
import inspect
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import tyro

from jaxgen import experiments
from jaxgen.commands import arguments
from jaxgen.devices import waiting
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.flags import place
from jaxgen.runs import parts

LONGEST = 200
"""Bytes of a folder's name that flags make: file systems hold 255, and a letter of Chinese has three."""


class Command(NamedTuple):
    """The flags on a command line: the experiment's own flags, those of `fit`, and those of `join_hosts`."""

    own: dict[str, Any]
    loop: dict[str, Any]
    hosts: dict[str, Any]


def run_experiment(function: Callable[..., Experiment], args: list[str] | None = None, *, prog: str | None = None) -> None:
    """Runs an experiment from the command line; the last line of an experiment's file.

    The flags are the function's keyword arguments and those of `fit`. Without `--workdir` the run lies in
    `runs/NAME`, with the flags that are not at their defaults in its name.

    Args:
      function: a function that returns the `Experiment`, decorated by `recorded`.
      args: the command line; None means that of the process.
      prog: the words that were typed before the flags; None means that it was `python -m MODULE` or `python FILE`.
    """
    with Mistakes():
        from jaxgen.devices.hosts import find_devices, join_hosts
        from jaxgen.training.loop import fit

        command = parse(function, args, prog=prog)
        # Before the experiment is made: that runs JAX, which then knows of this host alone.
        join_hosts(**command.hosts)
        find_devices()
        with parts.kept_in(place(command.loop["workdir"])):
            fit(function(**command.own), **command.loop)


def parse(function: Callable[..., Experiment], args: list[str] | None = None, *, prog: str | None = None) -> Command:
    """Reads a command line, and leaves with a sentence where it is none of this experiment's.

    Args:
      function: the experiment's function.
      args: the command line; None means that of the process.
      prog: the words that were typed before the flags; None means that it was `python -m MODULE` or `python FILE`.

    Returns:
      The flags, with the workdir that they name.
    """
    from jaxgen.devices.hosts import join_hosts
    from jaxgen.training.loop import fit

    functions: tuple[Callable[..., Any], ...] = (function, fit, join_hosts)
    own, loop, hosts = (dict(inspect.signature(f).parameters) for f in functions)
    loop.pop("experiment")
    module = sys.modules[function.__module__]
    name = module.__spec__.name if module.__spec__ else Path(sys.argv[0]).name
    prog = prog or (f"python -m {name}" if module.__spec__ else f"python {name}")
    of_flag = arguments.groups_of(function)
    groups = {
        **{group: {f: p for f, p in own.items() if of_flag[f] == group} for group in arguments.ORDER},
        "run": loop,
        "hosts": hosts,
    }
    short = Path(name).stem if name.endswith(".py") else name.rpartition(".")[2]
    flags = tyro.cli(
        arguments.grouped(groups, arguments.helps(*functions), {"workdir": f"runs/{short}"}),
        prog=prog,
        args=arguments.spelled_out(sys.argv[1:] if args is None else args, functions),
        description=_description(module.__doc__ or "", prog, short),
        registry=arguments.registry(),
    )
    chosen, running, joining = ({flag: flags[flag] for flag in group} for group in (own, loop, hosts))
    if running["workdir"] is None:
        defaults = {flag: parameter.default for flag, parameter in own.items()}
        running["workdir"] = default_workdir(name, chosen, defaults, running["seed"])
    return Command(chosen, running, joining)


def _description(doc: str, prog: str, name: str) -> str:
    """The text of `--help` above the flags: each example on its own line, typed as this command was."""
    lines = inspect.cleandoc(doc).splitlines()
    # The parser joins lines that begin with a letter.
    lines = [
        f"  {line.replace(f'python -m experiments.{name}', prog)}" if line.startswith("python ") else line for line in lines
    ]
    where = f"The run goes to the folder runs/{name}, or to another --workdir; the same command goes on with what is there."
    return "\n".join([*lines, "", where])


def check_module(args: Sequence[str], folders: Sequence[str]) -> None:
    """Answers `python -m experiments.NAME` by a sentence where there is no such module, and `python -m experiments` by a list.

    Args:
      args: the words that were typed, from `python` on.
      folders: the folders of the package `experiments`.
    """
    words = [arg.removeprefix("-m") for arg in args]
    if "experiments" in words:
        print(*(f"{f'python -m experiments.{name}':40} {experiments.summary(name)}" for name in experiments.names()), sep="\n")
        sys.exit()
    name = next((word for word in words if word.startswith(experiments.PREFIX)), None)
    if name is None:
        return
    path = Path(*name.split(".")[1:])
    if not any((Path(folder) / f"{path}.py").is_file() or (Path(folder) / path).is_dir() for folder in folders):
        with Mistakes():
            experiments.find(name)


def default_workdir(name: str, flags: dict[str, Any], defaults: dict[str, Any], seed: int) -> str:
    """`runs/vae`, `runs/vae-beta=4.0-seed=1`: the flags that differ from their defaults, without those that say how long.

    >>> default_workdir("experiments.vae", {"beta": 4.0, "steps": 9}, {"beta": 1.0, "steps": 5}, 0)
    'runs/vae-beta=4.0'
    """
    from jaxgen.runs.run_record import MAY_CHANGE

    changed = {f: v for f, v in flags.items() if v != defaults[f] and f not in MAY_CHANGE} | ({"seed": seed} if seed else {})
    parts = [Path(name).stem if name.endswith(".py") else name.rsplit(".", 1)[-1]]
    parts += [f"{f}={'x'.join(map(str, v)) if isinstance(v, tuple) else v}".replace("/", "_") for f, v in changed.items()]
    whole = "-".join(parts)
    encoded = os.fsencode(whole)
    if len(encoded) > LONGEST:  # the hash tells apart what is cut off
        digest = hashlib.sha256(encoded).hexdigest()[:8]
        whole = f"{encoded[: LONGEST - 9].decode(errors='ignore')}-{digest}"
    return os.path.join("runs", whole)


class Mistakes:
    """Ends a user's mistake in one sentence and an exit code, and leaves every other error its traceback."""

    def __enter__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            # A terminal or a pipe that is not of UTF-8 shows \u5b57 for a letter that it does not have.
            if isinstance(stream, io.TextIOWrapper):
                with contextlib.suppress(OSError):  # a named pipe that was opened for reading too cannot be looked at
                    stream.reconfigure(errors="backslashreplace")

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, SystemExit) and waiting.abandoned():
            _end(error.code if isinstance(error.code, int) else 1)
        if isinstance(error, UserError):
            _leave(str(error), error.exit_code)
        if isinstance(error, RuntimeError) and "Unable to initialize backend" in str(error):
            _leave(f"JAX finds no device ({str(error).splitlines()[0]}); set JAX_PLATFORMS=cpu, or install JAX for yours.", 2)
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # once more while Python ends would be a traceback
            _leave("Interrupted.", 130)
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _leave("The disk is full; free space and start the same command again: it goes on from its last checkpoint.", 2)


def _leave(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    if waiting.abandoned():
        _end(code)
    sys.exit(code)


def _end(code: int) -> NoReturn:
    """Ends the process while a device is computing: Python's own way out would wait for it, or break it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
