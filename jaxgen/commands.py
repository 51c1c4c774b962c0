"""The command `jaxgen`: what can be asked of runs, datasets and sets of images."""

import difflib
import inspect
import json
import platform
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import tyro
from tyro.conf import Positional

from jaxgen import arguments, durable, experiments, logs
from jaxgen.cli import Mistakes, run_experiment
from jaxgen.errors import FewExamplesWarning, UserError
from jaxgen.flags import Count, Folder, Place, Seed, Share, Whole, flag_name, held
from jaxgen.uncertainty import paired, told

MetricName = Literal[
    "frechet",
    "kernel",
    "score",
    "precision_recall",
    "density_coverage",
    "two_sample",
    "wasserstein",
    "sinkhorn",
    "sliced_wasserstein",
    "ms_ssim",
    "classification_accuracy",
]
"""Those of `jaxgen.metrics.pairs`, written here so that `--help` need not import it; a test holds that they are the same."""


def list_experiments() -> None:
    """List the experiments, each with the first line of its description."""
    for name in experiments.names():
        print(f"jaxgen run {name:20} {experiments.summary(name)}")


def run(name: Positional[str | None] = None, flags: Positional[tuple[str, ...]] = ()) -> None:
    """Train an experiment, or go on with its run; `jaxgen run NAME --help` shows its flags.

    Without a name, it lists the experiments.

    Args:
      name: of the experiment, as `jaxgen list` shows it.
      flags: of the experiment.
    """
    if name is None:
        return list_experiments()
    if name.startswith("-"):
        raise UserError(f"Name the experiment first: `jaxgen run NAME {' '.join([name, *flags])}`; `jaxgen list` shows them.")
    if name.endswith(".py"):
        raise UserError(f"{name} is a file; run it by `python {name}`.")
    function = experiments.find(name)
    run_experiment(function, list(flags), prog=f"jaxgen run {name.removeprefix(experiments.PREFIX)}")


@held
def sample(
    workdir: Positional[Place],
    *,
    n: Count = 64,
    out: Place = Path("samples.png"),
    seed: Seed | None = None,
    best: bool = False,
    step: Whole | None = None,
    experiment: str | None = None,
    data_dir: Place | None = None,
    dataset: str | None = None,
) -> None:
    """Draw samples from a trained run into a picture, an array or a folder. This needs no data.

    Args:
      workdir: the run.
      n: how many samples.
      out: the picture to write; .npy writes the array, [n, H, W, C] in [0, 1] or points [n, D], instead, and a folder,
        which ends in a /, one picture a sample. Both are written as the samples are drawn.
      seed: of the draw; by default the run's.
      best: use the best checkpoint, not the last.
      step: use the checkpoint of this step.
      experiment: the file that made the run, where it is not one of `jaxgen list`.
      data_dir: where the run's dataset lies now, if it was moved.
      dataset: the folder of the run's dataset, if it was moved or renamed.
    """
    from jaxgen import exports
    from jaxgen.run import load

    folder = isinstance(out, Folder) or out.is_dir()
    if not folder and out.suffix not in (".png", ".npy"):
        raise UserError(f"--out is {out}; name a .png or a .npy file in a folder of yours, or a folder that ends in a /.")
    run = load(workdir, step=step, best=best, experiment=experiment, data_dir=data_dir, dataset=dataset)
    parts = run.samples(n, seed=seed)
    if folder:
        exports.to_folder(parts, n, out)
    elif out.suffix == ".npy":
        exports.to_array(parts, n, out)
    else:
        exports.to_picture(parts, n, out, f"{n} samples of {workdir} at step {run.position:,}")
    print(out)


@held
def evaluate(
    workdir: Positional[Place],
    *,
    metrics: tuple[MetricName, ...] = (),
    extractor: Place | None = None,
    n: Count | None = None,
    split: Literal["test", "train", "validation"] | None = None,
    seed: Seed | None = None,
    best: bool = False,
    step: Whole | None = None,
    json_file: Annotated[Place | None, tyro.conf.arg(name="json")] = None,
    experiment: str | None = None,
    data_dir: Place | None = None,
    dataset: str | None = None,
) -> None:
    """Evaluate a trained run on its test split; or, with --metrics, hold its samples against its dataset.

    Args:
      workdir: the run.
      metrics: of the samples, instead of the experiment's own evaluators; each value comes with its protocol.
      extractor: in whose features: a run of `experiments.lenet`, or a file of InceptionV3's weights; by default pixels.
      n: how many samples; by default 10,000.
      split: on which to evaluate, or whose images the samples are held against: test, the default; validation, of a run that
        was trained with --validation; or train, with --metrics.
      seed: of what is drawn, samples and subsets; by default the run's.
      best: use the best checkpoint, not the last.
      step: use the checkpoint of this step.
      json_file: also write the values, with their protocols, to this file; `jaxgen compare` reads it.
      experiment: the file that made the run, where it is not one of `jaxgen list`.
      data_dir: where the run's dataset lies now, if it was moved.
      dataset: the folder of the run's dataset, if it was moved or renamed.
    """
    from jaxgen.metrics import protocol
    from jaxgen.run import load

    _check_json(json_file)
    beside_metrics = {"extractor": extractor, "n": n, "split": split if split == "train" else None}
    for flag, value in beside_metrics.items():
        if value is not None and not metrics:
            raise UserError(f"--{flag} goes with --metrics; name one or more of them, or leave it out.")
    features = _extractor(extractor)
    run = load(workdir, step=step, best=best, experiment=experiment, data_dir=data_dir, dataset=dataset)
    chosen = "best" if best else "last" if step is None else f"step {step}"
    print(f"{workdir} at step {run.position:,}")
    values: dict[str, Any] = {}
    if metrics:
        found = run.measure(metrics, n=n or 10_000, split=split or "test", extractor=features, seed=seed, checkpoint=chosen)
    else:
        there = {*run.experiment.evaluators, *run.experiment.final}
        values = run.evaluate(split=split or ("test" if "test" in there else None), seed=seed)
        found = run.figures(values, seed=seed, checkpoint=chosen)
        for of, named in values.items():
            for name, estimate in paired(named).items():
                if f"{of}/{name}" not in found:
                    print(f"  {f'{of}/{name}':32} {told(*estimate)}")
    _show(found)
    _write_json(json_file, {"step": run.position, **values, "measurements": protocol.to_json(found)})


@held
def measure(
    real: Positional[Place],
    fake: Positional[Place],
    *,
    metrics: tuple[MetricName, ...],
    extractor: Place | None = None,
    others: Place | None = None,
    seed: Seed = 0,
    json_file: Annotated[Place | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure images of any origin against real ones.

    Args:
      real: the real images: a folder, an .npy file [n, H, W, C], or an .npz file with `image` and `label`.
      fake: the others, likewise.
      metrics: what to measure; each value comes with its protocol.
      extractor: in whose features: a run of `experiments.lenet`, or a file of InceptionV3's weights; by default pixels.
      others: other real images, for the values of real against real; by default two halves of the real ones.
      seed: of every subset.
      json_file: also write the values, with their protocols, to this file; `jaxgen compare` reads it.
    """
    from jaxgen.metrics import images, protocol
    from jaxgen.metrics.measure import measure

    _check_json(json_file)
    features = _extractor(extractor)
    more = None if others is None else images.read(others)
    found = measure(images.read(real), images.read(fake), metrics, extractor=features, others=more, seed=seed)
    print(f"{fake} against {real}")
    _show(found)
    _write_json(json_file, {"measurements": protocol.to_json(found)})


def compare(a: Positional[Place], b: Positional[Place]) -> None:
    """Compare the values in two files that `--json` wrote; values of different protocols are refused.

    Where both have standard errors, the difference is told with its own, as of independent values.

    Args:
      a: the one.
      b: the other.
    """
    from jaxgen.metrics import protocol

    found = []
    for path in (a, b):
        with durable.explained(f"Reading {path}", "name a file that `--json` wrote."):
            found.append(protocol.from_json(path.read_text(encoding="utf-8", errors="replace"), str(path)))
    shared = [name for name in found[0] if name in found[1]]
    if not shared:
        raise UserError(f"{a} and {b} have no metric in common: {', '.join(found[0])}; {', '.join(found[1])}.")
    differences = {name: protocol.difference(found[1][name], found[0][name]) for name in shared}
    for name, change in differences.items():
        before, after = (told(one[name].value, one[name].stderr) for one in found)
        print(
            f"{name:32} {before} -> {after}   {_judged(change, protocol.error_of_difference(found[1][name], found[0][name]))}"
        )


@held
def reproduce(
    row: Positional[str | None] = None,
    *,
    data_dir: str | None = None,
    seeds: tuple[Seed, ...] | None = None,
    runs: Place = Path("runs/ledger"),
    results: Place | None = None,
    reason: str | None = None,
) -> None:
    """Reproduce a figure of a paper by its command, and record what was measured; without a name, list the figures.

    Args:
      row: the name of the row.
      data_dir: folder of prepared sets.
      seeds: seeds to run with, such as 0 1 2; by default those that the row asks for.
      runs: where the runs lie; the same command goes on with one that was stopped.
      results: folder of the record; by default `results` below --runs. The committed ones are in experiments/ledger/results.
      reason: why the row is run again, for the history of its record.
    """
    from jaxgen.experiments.ledger import page, records
    from jaxgen.experiments.ledger.reproduce import reproduce
    from jaxgen.experiments.ledger.rows import ROWS
    from jaxgen.experiments.ledger.verdict import estimate, verdict

    folder = results or runs / "results"
    committed = records.read()
    if row is None:
        for name, entry in ROWS.items():
            paper = "none" if entry.paper is None else page.published(entry.paper)
            became = page.status(entry, verdict(entry, committed.get(name)))
            print(f"{name:20} {became:26} {entry.system}; {entry.dataset}; paper {paper}")
        return
    record = reproduce(row, data_dir=data_dir, seeds=seeds, runs=runs, results=folder, reason=reason)
    entry = ROWS[row]
    for whose, one in (("yours", record), ("committed", committed.get(row))):
        found = verdict(entry, one)
        measured = page.ours(estimate(one)) if one else ""
        print(f"{row}, {whose}: {f'{measured}; ' if measured else ''}{page.status(entry, found)}")
        for lack in found.short_of:
            print(f"  {lack}")
    if entry.paper is not None:
        print(f"{row}, the paper's: {page.published(entry.paper)}; {entry.paper.source}")
    print(folder / f"{row}.json")


def ledger() -> None:
    """Write the ledger's page and its table in the README from the records."""
    from jaxgen.experiments.ledger import page

    readme = Path(page.__file__).parents[2] / "README.md"
    with durable.explained(f"Writing {page.PAGE} and {readme}", "run it in a clone of the repository."):
        document = page.put(readme.read_text(encoding="utf-8"), page.table())
        durable.write(page.PAGE, page.page())
        durable.write(readme, document)
    print(page.PAGE, readme, sep="\n")


def digest(workdir: Positional[Place]) -> None:
    """Print one hash over the latest checkpoint: parameters, optimizers, averages, variables, key, step, data position.

    Args:
      workdir: the run.
    """
    from jaxgen import run

    print(run.digest(workdir))


def replay(workdir: Positional[Place], *, experiment: str | None = None) -> None:
    """Repeat the step in which a run was not finite, and say which operation made it.

    Args:
      workdir: the run.
      experiment: the file that made the run, where it is not one of `jaxgen list`.
    """
    from jaxgen.forensics import replay

    print(*replay(workdir, experiment=experiment), sep="\n")


def data_list(*, data_dir: str | None = None) -> None:
    """List the datasets that can be read now, with their splits, features, sizes and places.

    Args:
      data_dir: folder of prepared sets; by default $TFDS_DATA_DIR or TFDS's own.
    """
    from jaxgen import data

    found = data.prepared(data_dir)
    for entry in found:
        splits = ", ".join(f"{split} {n:,}" for split, n in entry.splits.items())
        features = ", ".join(f"{feature} {shape}" for feature, shape in entry.features.items())
        print(
            f"{entry.name:20} {entry.version:8} {splits}",
            f"    {features}",
            f"    {_size(entry.size)} in {entry.place}",
            sep="\n",
        )
    rest = [name for name in data.names(data_dir) if name not in {entry.name for entry in found}]
    if rest:
        print(f"Made when they are first used: {', '.join(rest)}.")


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


@held
def data_convert(
    dataset: Positional[str],
    out: Positional[Path],
    *,
    train: str | None = None,
    test: str | None = None,
    split: Share | None = None,
    size: Count | None = None,
    grey: bool = False,
    data_dir: str | None = None,
    seed: Seed = 0,
) -> None:
    """Write any set of images to an .npz file with the splits train and test, to be named by --dataset.

    Args:
      dataset: a TFDS name, a folder of images, or an .npz or .npy file.
      out: the file to write, OUT.npz.
      train: the split to take as train; by default `train`, or the whole of a set without splits.
      test: the split to take as test; by default `test`.
      split: the share of the training examples that stay, 0.9; the others become test, of every class alike.
      size: side in pixels that the central square of every image is resized to.
      grey: one channel instead of three.
      data_dir: folder of prepared sets; by default $TFDS_DATA_DIR or TFDS's own.
      seed: of the cut in two.
    """
    from jaxgen import logs
    from jaxgen.data.convert import convert

    made = convert(
        dataset,
        out,
        train=train,
        test=test,
        split=split,
        size=size,
        grey=grey,
        data_dir=data_dir,
        seed=seed,
        track=lambda rows, description: logs.track(rows, description=description),
    )
    print(f"{out}: {', '.join(f'{name} of {n:,} examples' for name, n in made.items())}; read it with --dataset {out}")


COMMANDS: dict[str, Callable[..., Any]] = {
    "list": list_experiments,
    "run": run,
    "sample": sample,
    "evaluate": evaluate,
    "measure": measure,
    "compare": compare,
    "reproduce": reproduce,
    "ledger": ledger,
    "digest": digest,
    "replay": replay,
    "data list": data_list,
    "data prepare": data_prepare,
    "data convert": data_convert,
}


def main(args: list[str] | None = None) -> None:
    """The command `jaxgen`."""
    args = sys.argv[1:] if args is None else args
    with Mistakes(), warnings.catch_warnings():
        warnings.showwarning = _tell
        warnings.simplefilter("once", FewExamplesWarning)
        if args[:1] == ["--version"]:
            return print(versions())
        if args[:1] == ["run"] and args[1:2] not in (["-h"], ["--help"]):
            return run(args[1] if args[1:] else None, tuple(args[2:]))  # its flags are the experiment's
        if " ".join(args[:2]) in COMMANDS:
            args = [" ".join(args[:2]), *args[2:]]
        elif args and not args[0].startswith("-") and args[0] not in COMMANDS:
            _no_subcommand(args)
        chosen = [COMMANDS[args[0]]] if args and args[0] in COMMANDS else []
        if chosen:
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
    logs.say(f"Warning: {message}" if ours else f"{filename}:{lineno}: {category.__name__}: {message}")


def versions() -> str:
    """This package's version and those of what it stands on: the first line of a report of a fault.

    >>> versions().startswith("jaxgen ")
    True
    """
    from jaxgen import workdir

    found = [f"{name} {workdir.version(name)}" for name in workdir.PACKAGES]
    return ", ".join([*found, f"Python {platform.python_version()}"])


def _no_subcommand(args: list[str]) -> NoReturn:
    name = " ".join(args[:2]) if args[0] == "data" else args[0]
    if name.removeprefix(experiments.PREFIX) in experiments.names():
        raise UserError(f"{name} is an experiment; train it by `jaxgen run {name.removeprefix(experiments.PREFIX)}`.")
    known = [command for command in COMMANDS if args[0] != "data" or command.startswith("data ")]
    hint = experiments.nearest(name, known)
    if hint.startswith("there are") and (near := difflib.get_close_matches(name, experiments.names(), n=1)):
        hint = f"perhaps you meant `jaxgen run {near[0]}`"
    raise UserError(f"There is no subcommand {name!r} of jaxgen; {hint} (`jaxgen --help` shows them).")


def _no_flag(command: str, args: list[str]) -> None:
    """Refuses a flag that a subcommand does not have; the parser would take what follows it for the flag's value."""
    known = [*map(flag_name, inspect.signature(COMMANDS[command]).parameters), "--json", "--help"]
    for arg in args:
        name = arg.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name != "--" and name not in known and f"--{name.removeprefix('--no-')}" not in known:
            raise UserError(f"There is no {name} of `jaxgen {command}`; {experiments.nearest(name, known)}.")


def _size(n: int) -> str:
    """Bytes as people read them.

    >>> _size(1_500_000), _size(20_000)
    ('1.5 MB', '20 kB')
    """
    unit, name = next(
        (unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")) if n >= unit or unit == 1
    )
    return f"{n / unit:.2g} {name}" if n < 10 * unit else f"{n / unit:.0f} {name}"


def _extractor(path: Path | None) -> Any:
    if path is None:
        return None
    from jaxgen import extractors

    return extractors.find(path)


def _show(measurements: Mapping[str, Any]) -> None:
    for measurement in measurements.values():
        print(f"  {measurement}")
    if measurements:
        shared = next(iter(measurements.values())).protocol
        chosen = f", checkpoint: {shared.checkpoint}" if shared.checkpoint else ""
        samples = f"{shared.n_fake:,} samples and " if shared.n_fake else ""
        print(f"  of {samples}{shared.n_real:,} examples of {shared.real} (seed {shared.seed}{chosen})")


def _judged(change: float, error: float | None) -> str:
    """A difference with its standard error, and whether it is more than chance would make."""
    if error is None:
        return f"{change:+.4g}"
    verdict = "beyond two standard errors" if abs(change) > 2 * error else "within two standard errors"
    return f"{'+' * (change >= 0)}{told(change, error)} ({verdict})"


def _check_json(path: Path | None) -> None:
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UserError(f"--json is {path}, which is no file in a folder that exists; name one.")


def _write_json(path: Path | None, results: Mapping[str, Any]) -> None:
    if path is not None:
        with durable.explained(f"Writing {path}", "name a file in a folder of yours."):
            durable.write(path, json.dumps(results, indent=2) + "\n")
