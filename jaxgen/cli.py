"""The command line of an experiment: its function's keyword arguments, joined by those of `fit`."""

import contextlib
import errno
import inspect
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import tyro

from jaxgen import waiting
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment


class Command(NamedTuple):
    """What a command line says: the experiment's own flags, those of `fit`, and those of `join_hosts`."""

    own: dict[str, Any]
    loop: dict[str, Any]
    hosts: dict[str, Any]


def run_experiment(function: Callable[..., Experiment], args: list[str] | None = None) -> None:
    """Runs an experiment from the command line; the last line of an experiment's file.

    The flags are the function's keyword arguments and those of `fit`. Without `--workdir` the run lies in
    `runs/NAME`, with the flags that are not at their defaults in its name.

    Args:
      function: returns the `Experiment`, decorated by `recorded`.
      args: the command line; None means that of the process.
    """
    with Mistakes():
        from jaxgen.loop import fit
        from jaxgen.parallel import join_hosts

        command = parse(function, args)
        # Before the experiment is made: that runs JAX, which then knows of this host alone.
        join_hosts(**command.hosts)
        fit(function(**command.own), **command.loop)


def parse(function: Callable[..., Experiment], args: list[str] | None = None) -> Command:
    """Reads a command line, and leaves with a sentence where it is none of this experiment's.

    Args:
      function: the experiment's.
      args: the command line; None means that of the process.

    Returns:
      The flags, with the workdir that they name.
    """
    from jaxgen.loop import fit
    from jaxgen.parallel import join_hosts

    functions: tuple[Callable[..., Any], ...] = (function, fit, join_hosts)
    own, loop, hosts = (dict(inspect.signature(f).parameters) for f in functions)
    loop.pop("experiment")
    module = sys.modules[function.__module__]
    name = module.__spec__.name if module.__spec__ else Path(sys.argv[0]).name
    prog = f"python -m {name}" if module.__spec__ else f"python {name}"
    merged = _merged({**own, **loop, **hosts}, "".join(_arguments(f) for f in functions))
    flags = tyro.cli(merged, prog=prog, args=args, description=inspect.cleandoc(module.__doc__ or ""))
    chosen, running, joining = ({flag: flags[flag] for flag in group} for group in (own, loop, hosts))
    if running["workdir"] is None:
        defaults = {flag: parameter.default for flag, parameter in own.items()}
        running["workdir"] = default_workdir(name, chosen, defaults, running["seed"])
    return Command(chosen, running, joining)


def default_workdir(name: str, flags: dict[str, Any], defaults: dict[str, Any], seed: int) -> str:
    """`runs/vae`, `runs/vae-beta=4.0-seed=1`: the flags that differ from their defaults, without those that say how long.

    >>> default_workdir("experiments.vae", {"beta": 4.0, "steps": 9}, {"beta": 1.0, "steps": 5}, 0)
    'runs/vae-beta=4.0'
    """
    from jaxgen.workdir import FREE

    changed = {f: v for f, v in flags.items() if v != defaults[f] and f not in FREE} | ({"seed": seed} if seed else {})
    parts = [Path(name).stem if name.endswith(".py") else name.rsplit(".", 1)[-1]]
    parts += [f"{f}={'x'.join(map(str, v)) if isinstance(v, tuple) else v}".replace("/", "_") for f, v in changed.items()]
    return os.path.join("runs", "-".join(parts)[:200])


class Mistakes:
    """Ends a user's mistake in one sentence and an exit code, and leaves every other error its traceback."""

    def __enter__(self) -> None: ...

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


def _merged(parameters: dict[str, inspect.Parameter], documentation: str) -> Callable[..., dict[str, Any]]:
    """A function of all the flags that returns them."""

    def merged(**flags: Any) -> dict[str, Any]:
        return flags

    flags = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters.values()]
    merged.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
    merged.__annotations__ = {p.name: p.annotation for p in flags}
    merged.__doc__ = f"Flags.\n\nArgs:\n{documentation}"
    return merged


def _arguments(function: Callable[..., Any]) -> str:
    doc = inspect.getdoc(function) or ""
    section = doc.partition("Args:\n")[2].partition("\n\n")[0]
    lines = [line for line in section.splitlines() if not line.strip().startswith("experiment:")]
    return "".join(f"{line}\n" for line in lines)


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
