"""The subcommand `page`: runs side by side, with their samples, their figures, and metrics against network evaluations."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from tyro.conf import Positional

from jaxgen import disk
from jaxgen.commands import extractors
from jaxgen.commands.measuring import MetricName
from jaxgen.errors import UserError
from jaxgen.flags import Count, Place, Seed, checked, flag_name
from jaxgen.uncertainty import paired, told

VALUES = "values.json"
COLUMNS = 16


@checked
def page(
    runs: Positional[tuple[Place, ...]],
    *,
    out: Place,
    metrics: tuple[MetricName, ...] = ("frechet",),
    extractor: Place | None = None,
    sampling_steps: tuple[Count, ...] = (),
    n: Count = 2_000,
    shown: Count = 32,
    seed: Seed = 0,
    data_dir: Place | None = None,
) -> None:
    """Put runs on one set side by side on a page: samples, figures, and metrics against network evaluations.

    The page is OUT/README.md, with its pictures and `values.json`. What was measured is kept there as it is found: the same
    command goes on where it was stopped, and measures a run again once the run is another one.

    Args:
      runs: the runs, in the order of the page.
      out: the folder of the page.
      metrics: the metrics to compute on the samples of every run.
      extractor: the network whose features the metrics compare: a run of `experiments.lenet`, or a file of InceptionV3's
        weights; by default pixels.
      sampling_steps: the numbers of sampling steps to measure every run with that has such a flag; by default the run's own.
      n: the number of samples that are measured.
      shown: the number of samples that are shown.
      seed: the seed of all that is drawn.
      data_dir: the folder that the runs' dataset lies in now, if it was moved.
    """
    if not runs:
        raise UserError("Name the runs to put side by side: `jaxgen page RUN RUN --out FOLDER`.")
    if out.is_file():
        raise UserError(f"--out is {out}, which is a file; name a folder of yours.")
    features = None if extractor is None else extractors.find(extractor)
    names = _names(runs)
    kept = _Kept(out / VALUES)
    sections: list[dict[str, Any]] = []
    for path, name in zip(runs, names, strict=True):
        section = _section(path, name, out, tuple(metrics), features, sampling_steps, n, shown, seed, data_dir, kept)
        if sections and section["real"] != sections[0]["real"]:
            raise UserError(
                f"{path} is held against {section['real']}, and {runs[0]} against {sections[0]['real']}; put runs on one set "
                "on a page."
            )
        sections.append(section)
    with disk.explained(f"Writing {out}", "name a folder of yours."):
        for metric in _metrics(sections):
            disk.write(out / f"{metric}.png", _curves(sections, metric))
        disk.write(out / "README.md", "\n".join(_text(sections, n, seed)) + "\n")
    print(out / "README.md")


class _Kept:
    """Measured values by the bits of the run and the setting, in a file that grows with every value."""

    def __init__(self, path: Path):
        self.path = path
        self.values: dict[str, Any] = {}
        if path.is_file():
            try:
                self.values = dict(json.loads(path.read_text(encoding="utf-8")))
            except ValueError:
                raise UserError(f"{path} holds no values of `jaxgen page`; name another folder by --out.") from None

    def add(self, key: str, value: Mapping[str, Any]) -> None:
        self.values[key] = dict(value)
        with disk.explained(f"Writing {self.path}", "name a folder of yours."):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            disk.write(self.path, json.dumps(self.values, indent=1) + "\n")


def _section(
    path: Path,
    name: str,
    out: Path,
    metrics: tuple[str, ...],
    features: Any,
    sampling_steps: Sequence[int],
    n: int,
    shown: int,
    seed: int,
    data_dir: Path | None,
    kept: _Kept,
) -> dict[str, Any]:
    """A run's facts and values, measured where they are not kept."""
    from jaxgen.game import averaged
    from jaxgen.pictures import Picture, save
    from jaxgen.runs.load import load
    from jaxgen.samples.evaluations import network_evaluations

    run = load(path, data_dir=data_dir)
    made = run.experiment
    has_steps = "sampling_steps" in made.sampling
    settings: list[dict[str, Any]] = [{"sampling_steps": k} for k in sampling_steps] if sampling_steps and has_steps else [{}]
    digest, points, refused = run.digest(), [], []
    for own in settings:
        key = " ".join(
            [
                digest,
                *metrics,
                "pixels" if features is None else f"{features.name} {features.version}",
                f"n={n} seed={seed}",
                json.dumps(own),
            ]
        )
        if key not in kept.values:
            try:
                there = load(path, data_dir=data_dir, anew=own) if own else run
            except UserError as error:
                refused.append(f"{_told(own)}: {error}")
                continue
            assert there.experiment.sample is not None or not metrics
            evaluations = (
                None
                if there.experiment.sample is None
                else network_evaluations(there.experiment.sample, averaged(there.state), there.experiment.given)
            )
            found = there.measure(metrics, n=n, extractor=features, seed=seed, checkpoint="last")
            values = {
                metric: {"value": m.value, "stderr": m.stderr, "floor": m.floor, "real": m.protocol.real}
                for metric, m in found.items()
            }
            kept.add(key, {"run": str(path), "evaluations": evaluations, "values": values})
        points.append({"setting": own, **kept.values[key]})
    picture = Picture(run.sample(shown, seed=seed), min(COLUMNS, shown), f"{name}, {shown} samples")
    with disk.explained(f"Writing {out}", "name a folder of yours."):
        save(picture, out / "samples" / f"{name}.png")
    config = made.config
    flags = "".join(f" {flag_name(flag)} {value}" for flag, value in (config.changed() if config else {}).items())
    test = run.last().get("test", {})
    figures = {figure: value for figure, value in paired(test).items() if figure in made.protocol}
    reals = {value["real"] for point in points for value in point["values"].values()}
    return {
        "name": name,
        "command": f"{config.name if config else 'an experiment of your own'}{flags}",
        "step": run.position,
        "parameters": sum(x.size for x in jax.tree.leaves(run.state.params)),
        "figures": figures,
        "points": points,
        "refused": refused,
        "real": reals.pop() if reals else None,
    }


def _names(runs: Sequence[Path]) -> list[str]:
    """The last parts of the paths; the whole ones, as one word, if two are equal."""
    short = [path.name for path in runs]
    return short if len(set(short)) == len(short) else [str(path).strip("/").replace("/", "-") for path in runs]


def _told(setting: Mapping[str, Any]) -> str:
    return " ".join(f"{flag_name(flag)} {value}" for flag, value in setting.items()) or "as trained"


def _metrics(sections: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for section in sections for point in section["points"] for name in point["values"]))


def _curves(sections: Sequence[Mapping[str, Any]], metric: str) -> bytes:
    from jaxgen.measuring.curves import Point, curves

    points, floors = {}, []
    for section in sections:
        own = [(point["evaluations"], point["values"][metric]) for point in section["points"] if metric in point["values"]]
        floors += [value["floor"] for _, value in own if value["floor"] is not None]
        points[section["name"]] = [Point(at, value["value"], value["stderr"]) for at, value in own if at]
    return curves(points, metric=metric, floor=floors[0] if floors else None)


def _text(sections: Sequence[Mapping[str, Any]], n: int, seed: int) -> list[str]:
    """The page, line by line."""
    lines = ["# Runs side by side", "", "| run | trained by | step | parameters | figures of the last evaluation, test |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for section in sections:
        figures = ", ".join(f"{name} {told(*value)}" for name, value in section["figures"].items())
        of = f"| {section['name']} | `{section['command']}` | {section['step']:,} | {section['parameters']:,} "
        lines.append(f"{of}| {figures or 'none'} |")
    lines += ["", "## Samples"]
    for section in sections:
        lines += ["", f"{section['name']}", "", f"![{section['name']}](samples/{section['name']}.png)"]
    metrics = _metrics(sections)
    for metric in metrics:
        lines += ["", f"## {metric} against network evaluations", "", f"![{metric}]({metric}.png)", ""]
        lines += ["| run | setting | network evaluations a sample | value |", "| --- | --- | --- | --- |"]
        for section in sections:
            for point in section["points"]:
                at = "decided by the data" if point["evaluations"] is None else f"{point['evaluations']:g}"
                value = point["values"][metric]
                shown = told(value["value"], value["stderr"])
                lines.append(f"| {section['name']} | {_told(point['setting'])} | {at} | {shown} |")
    if metrics:
        lines += ["", f"Of {n:,} samples against {sections[0]['real']}, seed {seed}. After +- stands a standard error."]
    refused = [f"- {section['name']}, {sentence}" for section in sections for sentence in section["refused"]]
    return [*lines, *(["", "Not measured:", "", *refused] if refused else [])]
