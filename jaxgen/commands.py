"""The command `jaxgen`: what can be asked of runs, datasets and sets of images."""

import ast
import json
import pkgutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from jaxgen import durable
from jaxgen.cli import Mistakes
from jaxgen.errors import UserError
from jaxgen.flags import Count, Folder, Place, Seed, held

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
    import experiments

    for module in pkgutil.iter_modules(experiments.__path__):
        if not module.ispkg:
            print(f"{'experiments.' + module.name:32} {_first_line(module)}")


@held
def sample(
    workdir: Positional[Place],
    *,
    n: Count = 64,
    out: Place = Path("samples.png"),
    seed: Seed | None = None,
    best: bool = False,
    step: int | None = None,
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
    n: Count = 10_000,
    split: Literal["test", "train"] = "test",
    seed: Seed | None = None,
    best: bool = False,
    step: int | None = None,
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
      n: how many samples.
      split: whose images the samples are held against.
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
    features = _extractor(extractor)
    run = load(workdir, step=step, best=best, experiment=experiment, data_dir=data_dir, dataset=dataset)
    chosen = "best" if best else "last" if step is None else f"step {step}"
    print(f"{workdir} at step {run.position:,}")
    values: dict[str, Any] = {}
    if metrics:
        found = run.measure(metrics, n=n, split=split, extractor=features, seed=seed, checkpoint=chosen)
    else:
        values = run.evaluate(seed=seed)
        found = run.figures(values, seed=seed, checkpoint=chosen)
        for name, value in ((f"{of}/{name}", value) for of, named in values.items() for name, value in named.items()):
            if name not in found:
                print(f"  {name:32} {value:.5g}")
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
        print(f"{name:32} {found[0][name].value:.5g} -> {found[1][name].value:.5g}   {change:+.4g}")


def reproduce(
    row: Positional[str | None] = None,
    *,
    data_dir: str | None = None,
    runs: Place = Path("runs/ledger"),
    out: Place | None = None,
) -> None:
    """Reproduce a figure of a paper by its command, and record what was measured; without a name, list the figures.

    Args:
      row: the name of the row.
      data_dir: folder of prepared sets.
      runs: where the runs lie; the same command goes on with one that was stopped.
      out: folder of the records; by default that of the ledger.
    """
    from experiments.ledger import page
    from experiments.ledger.reproduce import RESULTS, read, reproduce
    from experiments.ledger.rows import ROWS

    results = out or RESULTS
    if row is None:
        for name, entry in ROWS.items():
            print(f"{name:24} {page.status(name, read(results)):18} {entry.system}; {entry.dataset}; paper {entry.paper}")
        return
    record = reproduce(row, data_dir=data_dir, runs=runs, results=results)
    print(f"{row}: {page.ours(record)}; paper {ROWS[row].paper}; {page.status(row, read(results))}")


def ledger() -> None:
    """Write the ledger's page and its table in the README from the records."""
    from experiments.ledger import page

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
    "measure": measure,
    "compare": compare,
    "reproduce": reproduce,
    "ledger": ledger,
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


def _check_json(path: Path | None) -> None:
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UserError(f"--json is {path}, which is no file in a folder that exists; name one.")


def _write_json(path: Path | None, results: Mapping[str, Any]) -> None:
    if path is not None:
        with durable.explained(f"Writing {path}", "name a file in a folder of yours."):
            durable.write(path, json.dumps(results, indent=2) + "\n")


def _first_line(module: Any) -> str:
    # Read, not imported: listing needs no jax.
    source = module.module_finder.find_spec(module.name).loader.get_source(module.name)
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
