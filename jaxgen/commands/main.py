"""The command `jaxgen`: its subcommands, and the message for a line that names none of them."""

import difflib
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import tyro

from jaxgen import experiments, progress, version
from jaxgen.commands import arguments, datasets, ledger, measuring, page, runs
from jaxgen.commands.command_line import Mistakes
from jaxgen.errors import FewExamplesWarning, UserError
from jaxgen.flags import flag_name

COMMANDS: dict[str, Callable[..., Any]] = {
    "list": runs.list_experiments,
    "run": runs.run,
    "sample": runs.sample,
    "translate": runs.translate,
    "evaluate": measuring.evaluate,
    "measure": measuring.measure,
    "compare": measuring.compare,
    "page": page.page,
    "reproduce": ledger.reproduce,
    "ledger": ledger.ledger,
    "digest": runs.digest,
    "replay": runs.replay,
    "data list": datasets.data_list,
    "data prepare": datasets.data_prepare,
    "data convert": datasets.data_convert,
}

OTHER_WORDS = {"train": "run", "fit": "run", "generate": "sample", "draw": "sample"}
"""Other names that users try for a subcommand, where its spelling is no hint."""


def main(args: list[str] | None = None) -> None:
    """The command `jaxgen`."""
    args = sys.argv[1:] if args is None else args
    with Mistakes(), warnings.catch_warnings():
        warnings.showwarning = _tell
        warnings.simplefilter("once", FewExamplesWarning)
        if args[:1] == ["--version"]:
            return print(version.told())
        if args[:1] == ["run"] and args[1:2] not in (["-h"], ["--help"]):
            return runs.run(args[1] if args[1:] else None, tuple(args[2:]))  # its flags are the experiment's
        if " ".join(args[:2]) in COMMANDS:
            args = [" ".join(args[:2]), *args[2:]]
        elif args and not args[0].startswith("-") and args[0] not in COMMANDS:
            _no_subcommand(args)
        chosen = [COMMANDS[args[0]]] if args and args[0] in COMMANDS else []
        if chosen and "anew" in inspect.signature(chosen[0]).parameters:
            args = [args[0], *arguments.own_flags_last(args[1:], _flags_of(args[0]))]
        elif chosen:
            _no_flag(args[0], args[1:])
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="jaxgen",
            description="Generative and representation models in JAX.",
            args=arguments.spelled_out(args, chosen),
            registry=arguments.registry(),
        )


def _tell(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Shows a warning: of ours the sentence alone, of others where it came from too."""
    ours = issubclass(category, FewExamplesWarning)
    progress.say(f"Warning: {message}" if ours else f"{filename}:{lineno}: {category.__name__}: {message}")


def _no_subcommand(args: list[str]) -> NoReturn:
    name = " ".join(args[:2]) if args[0] == "data" else args[0]
    if name.removeprefix(experiments.PREFIX) in experiments.names():
        raise UserError(f"{name} is an experiment; train it by `jaxgen run {name.removeprefix(experiments.PREFIX)}`.")
    known = [command for command in COMMANDS if args[0] != "data" or command.startswith("data ")]
    hint = f"perhaps you meant {OTHER_WORDS[name]}" if name in OTHER_WORDS else experiments.nearest(name, known)
    if hint.startswith("there are") and (near := difflib.get_close_matches(name, experiments.names(), n=1)):
        hint = f"perhaps you meant `jaxgen run {near[0]}`"
    raise UserError(f"There is no subcommand {name!r} of jaxgen; {hint} (`jaxgen --help` shows them).")


def _flags_of(command: str) -> list[str]:
    return [*map(flag_name, inspect.signature(COMMANDS[command]).parameters), "--json", "--help"]


def _no_flag(command: str, args: list[str]) -> None:
    """Refuses a flag that a subcommand does not have; the parser would take what follows it for the flag's value."""
    known = _flags_of(command)
    for arg in args:
        name = arg.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name != "--" and name not in known and f"--{name.removeprefix('--no-')}" not in known:
            raise UserError(f"There is no {name} of `jaxgen {command}`; {experiments.nearest(name, known)}.")
