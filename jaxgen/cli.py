"""The command line: an experiment's flags are its function's keyword arguments, joined by those of `fit`."""

import ast
import errno
import inspect
import json
import os
import pkgutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro
from tyro.conf import Positional

from jaxgen import durable
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment


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

        functions: tuple[Callable[..., Any], ...] = (function, fit, join_hosts)
        own, loop, hosts = (dict(inspect.signature(f).parameters) for f in functions)
        loop.pop("experiment")
        module = sys.modules[function.__module__]
        name = module.__spec__.name if module.__spec__ else Path(sys.argv[0]).name
        prog = f"python -m {name}" if module.__spec__ else f"python {name}"
        merged = _merged({**own, **loop, **hosts}, "".join(_arguments(f) for f in functions))
        flags = tyro.cli(merged, prog=prog, args=args, description=inspect.cleandoc(module.__doc__ or ""))
        # Before the experiment is made: that runs JAX, which then knows of this host alone.
        join_hosts(**{flag: flags.pop(flag) for flag in hosts})
        chosen = {flag: flags.pop(flag) for flag in own}
        if flags["workdir"] is None:
            flags["workdir"] = default_workdir(name, chosen, {f: p.default for f, p in own.items()}, flags["seed"])
        fit(function(**chosen), **flags)


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


def list_experiments() -> None:
    """List the experiments, each with the first line of its description."""
    import experiments

    for module in pkgutil.iter_modules(experiments.__path__):
        if not module.ispkg:
            print(f"{'experiments.' + module.name:32} {_first_line(module)}")


def sample(
    workdir: Positional[Path],
    *,
    n: int = 64,
    out: Path = Path("samples.png"),
    seed: int | None = None,
    best: bool = False,
    step: int | None = None,
    experiment: str | None = None,
) -> None:
    """Draw samples from a trained run into a picture.

    Args:
      workdir: the run.
      n: how many samples.
      out: the picture to write; .npy writes the array, [n, H, W, C] in [0, 1] or points [n, D], instead.
      seed: of the draw; by default the run's.
      best: use the best checkpoint, not the last.
      step: use the checkpoint of this step.
      experiment: the file that made the run, where it is not one of `jaxgen list`.
    """
    import numpy as np

    from jaxgen import pictures
    from jaxgen.run import load

    if n < 1:
        raise UserError(f"--n is {n}; give 1 or more.")
    if out.suffix not in (".png", ".npy"):
        raise UserError(f"--out is {out}; name a .png or a .npy file in a folder of yours.")
    run = load(workdir, step=step, best=best, experiment=experiment)
    images = run.sample(n, seed=seed)
    if images.ndim != 4 and out.suffix != ".npy":
        raise UserError(f"The samples of {workdir} are points, {list(images.shape)}, and no images; give --out samples.npy.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".npy":
            np.save(out, images)
        else:
            caption = f"{n} samples of {workdir} at step {run.position:,}"
            pictures.save(pictures.Picture(images, round(n**0.5) or 1, caption), out)
    except (OSError, ValueError) as error:
        raise UserError(f"{out} cannot be written ({error}); name a .png or a .npy file in a folder of yours.") from None
    print(out)


def evaluate(
    workdir: Positional[Path],
    *,
    best: bool = False,
    step: int | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    experiment: str | None = None,
) -> None:
    """Evaluate a trained run on its test split, with what is too slow to do while training.

    Args:
      workdir: the run.
      best: use the best checkpoint, not the last.
      step: use the checkpoint of this step.
      json_file: also write the values to this file.
      experiment: the file that made the run, where it is not one of `jaxgen list`.
    """
    from jaxgen.run import load

    if json_file is not None and (json_file.is_dir() or not json_file.parent.is_dir()):
        raise UserError(f"--json is {json_file}, which is no file in a folder that exists; name one.")
    run = load(workdir, step=step, best=best, experiment=experiment)
    results = run.evaluate()
    print(f"{workdir} at step {run.position:,}")
    for split, values in results.items():
        for name, value in values.items():
            print(f"  {split + ' ' + name:32} {value:.4f}")
    if json_file is not None:
        with durable.explained(f"Writing {json_file}", "name a file in a folder of yours."):
            durable.write(json_file, json.dumps({"step": run.position, **results}, indent=2) + "\n")


def digest(workdir: Positional[Path]) -> None:
    """Print one hash over the latest checkpoint: parameters, optimizers, averages, variables, key, step, data position.

    Args:
      workdir: the run.
    """
    from jaxgen import run

    print(run.digest(workdir))


def replay(workdir: Positional[Path], *, experiment: str | None = None) -> None:
    """Repeat the step in which a run was not finite, and say which operation made it.

    Args:
      workdir: the run.
      experiment: the file that made the run, where it is not one of `jaxgen list`.
    """
    from jaxgen.forensics import replay

    print(*replay(workdir, experiment=experiment), sep="\n")


def data_list(*, data_dir: str | None = None) -> None:
    """List the datasets that can be read now.

    Args:
      data_dir: folder of prepared sets; by default $TFDS_DATA_DIR or TFDS's own.
    """
    from jaxgen import data

    for name in data.names(data_dir):
        print(name)


def data_prepare(dataset: Positional[str], *, data_dir: str | None = None) -> None:
    """Prepare a TFDS dataset; the official ones need the extra `tf` and a network.

    Args:
      dataset: a TFDS name.
      data_dir: folder to prepare it in; by default $TFDS_DATA_DIR or TFDS's own.
    """
    from jaxgen import data

    builder = data.prepare(dataset, data_dir=data_dir)
    for split, info in builder.info.splits.items():
        print(f"{builder.info.full_name} {split}: {info.num_examples:,} examples in {builder.data_path}")


COMMANDS: dict[str, Callable[..., Any]] = {
    "list": list_experiments,
    "sample": sample,
    "evaluate": evaluate,
    "digest": digest,
    "replay": replay,
    "data list": data_list,
    "data prepare": data_prepare,
}


def main(args: list[str] | None = None) -> None:
    """The command `jaxgen`."""
    args = sys.argv[1:] if args is None else args
    if " ".join(args[:2]) in COMMANDS:
        args = [" ".join(args[:2]), *args[2:]]
    with Mistakes():
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="jaxgen", description="Generative and representation models in JAX.", args=args
        )


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


def _first_line(module: Any) -> str:
    # Read, not imported: listing needs no jax.
    source = module.module_finder.find_spec(module.name).loader.get_source(module.name)
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def _leave(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    sys.exit(code)
