"""Subcommands for values: evaluate a run, measure sets of images, compare measured values."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from jaxgen import disk
from jaxgen.commands import runs
from jaxgen.errors import UserError
from jaxgen.flags import Count, Place, Positive, Seed, Whole, checked, flag_name
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
"""The names in `jaxgen.measuring.table`, written here so that `--help` need not import it; a test compares the two."""


@checked
def evaluate(
    workdir: Positional[Place],
    *,
    metrics: tuple[MetricName, ...] = (),
    extractor: Place | None = None,
    n: Count | None = None,
    split: str | None = None,
    seed: Seed | None = None,
    best: bool = False,
    step: Whole | None = None,
    sigma_rel: Positive | None = None,
    json_file: Annotated[Place | None, tyro.conf.arg(name="json")] = None,
    experiment: str | None = None,
    data_dir: Place | None = None,
    dataset: str | None = None,
    anew: tuple[str, ...] = (),
) -> None:
    """Evaluate a trained run on its test split; or, with --metrics, hold its samples against its dataset.

    With several values of a flag of sampling, `jaxgen evaluate RUN --metrics frechet --sampling-steps 10 25 50`, every setting
    is evaluated, and the values stand in a table.

    Args:
      workdir: the run.
      metrics: the metrics to compute on the samples, instead of the experiment's own evaluators; each value comes with its
        protocol.
      extractor: the network whose features the metrics compare: a run of `experiments.lenet`, or a file of InceptionV3's
        weights; by default pixels.
      n: the number of samples; by default 10,000.
      split: the split that is evaluated, or whose images the samples are compared with: test, the default; validation, of a run
        that was trained with --validation; or train, with --metrics. Of several domains one, such as test/photos.
      seed: the seed of all that is drawn, samples and subsets; by default the run's.
      best: whether to use the best checkpoint instead of the last.
      step: the step of the checkpoint to use; by default the last one's.
      sigma_rel: the relative width of the averages to use, made of those in the checkpoints of a run with --ema-widths; by
        default the averages are those that were kept.
      json_file: the file that the values are also written to, with their protocols; `jaxgen compare` reads it.
      experiment: the file that made the run, where it is not one of `jaxgen list`.
      data_dir: the folder that the run's dataset lies in now, if it was moved.
      dataset: the folder of the run's dataset, if it was moved or renamed.
      anew: the experiment's own flags of sampling and measuring, in place of those on record: `--sampling-steps 10 25`, short
        for `--anew sampling-steps=10 sampling-steps=25`.
    """
    from jaxgen.best import described
    from jaxgen.experiment import of_split
    from jaxgen.measuring import protocol
    from jaxgen.runs.load import load
    from jaxgen.runs.workdir import read

    _check_json(json_file)
    beside_metrics = {"extractor": extractor, "n": n, "split": split if split and split.partition("/")[0] == "train" else None}
    for flag, value in beside_metrics.items():
        if value is not None and not metrics:
            raise UserError(f"--{flag} goes with --metrics; name one or more of them, or leave it out.")
    features = extractor_of(extractor)
    chosen = "best" if best else "last" if step is None else f"step {step}"
    rows: list[dict[str, Any]] = []
    for own in runs.settings(evaluate, workdir, experiment, anew, several=True):
        run = load(
            workdir,
            step=step,
            best=best,
            sigma_rel=sigma_rel,
            experiment=experiment,
            data_dir=data_dir,
            dataset=dataset,
            anew=own,
        )
        by = read(workdir).best if best else None
        marked = "" if by is None else f" ({described(by)})"
        anew_flags = (f"{flag_name(flag)} {value}" for flag, value in own.items())
        print(" ".join([f"{workdir} at step {run.position:,}{marked}", *anew_flags]))
        values: dict[str, Any] = {}
        if metrics:
            found = run.measure(metrics, n=n or 10_000, split=split or "test", extractor=features, seed=seed, checkpoint=chosen)
        else:
            there = {**run.experiment.evaluators, **run.experiment.final}
            values = run.evaluate(split=split or ("test" if of_split(there, "test") else None), seed=seed)
            found = run.figures(values, seed=seed, checkpoint=chosen)
            for of, named in values.items():
                for name, estimate in paired(named).items():
                    if f"{of}/{name}" not in found:
                        print(f"  {f'{of}/{name}':32} {told(*estimate)}")
        _show(found)
        given = {"anew": own} if own else {}
        rows.append({**given, "step": run.position, **values, "measurements": protocol.to_json(found)})
    if len(rows) > 1:
        print(*_table(rows), sep="\n")
    _write_json(json_file, rows[0] if len(rows) == 1 else {"settings": rows})


@checked
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
      fake: the images to measure, in the same forms.
      metrics: the metrics to compute; each value comes with its protocol.
      extractor: the network whose features the metrics compare: a run of `experiments.lenet`, or a file of InceptionV3's
        weights; by default pixels.
      others: other real images, for the values of real against real; by default two halves of the real ones.
      seed: the seed of every subset that is drawn.
      json_file: the file that the values are also written to, with their protocols; `jaxgen compare` reads it.
    """
    from jaxgen.measuring import images, protocol
    from jaxgen.measuring.measure import measure

    _check_json(json_file)
    features = extractor_of(extractor)
    more = None if others is None else images.read(others)
    found = measure(images.read(real), images.read(fake), metrics, extractor=features, others=more, seed=seed)
    print(f"{fake} against {real}")
    _show(found)
    _write_json(json_file, {"measurements": protocol.to_json(found)})


def compare(a: Positional[Place], b: Positional[Place]) -> None:
    """Compare the values in two files that `--json` wrote; values of different protocols are refused.

    Where both have standard errors, the difference is given with its own, as for independent values.

    Args:
      a: the file of the first values.
      b: the file of the second values.
    """
    from jaxgen.measuring import protocol

    found = []
    for path in (a, b):
        with disk.explained(f"Reading {path}", "name a file that `--json` wrote."):
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


def extractor_of(path: Path | None) -> Any:
    """The extractor that a flag names, which is imported if there is one; None stands for pixels."""
    if path is None:
        return None
    from jaxgen.commands import extractors

    return extractors.find(path)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for every setting: its flags, and the values of all figures with their errors."""
    figures = [*rows[0]["measurements"]]
    cells = [[*map(flag_name, rows[0]["anew"]), *figures]]
    for row in rows:
        measured = [row["measurements"][name] for name in figures]
        cells.append([*map(str, row["anew"].values()), *(told(one["value"], one["stderr"]) for one in measured)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in cells]


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
        with disk.explained(f"Writing {path}", "name a file in a folder of yours."):
            disk.write(path, json.dumps(results, indent=2) + "\n")
