"""The subcommand `page`: runs side by side, with their samples, their figures, and metrics against network evaluations."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tyro.conf import Positional

from jaxgen import disk
from jaxgen.commands.measuring import MetricName, extractor_of
from jaxgen.errors import UserError
from jaxgen.flags import Count, Place, Seed, checked, flag_name
from jaxgen.uncertainty import paired, told

VALUES = "values.json"
COLUMNS = 16


class Measured(NamedTuple):
    """The values of a run's samples in one setting.

    Fields:
      setting: the flags of sampling that were given anew.
      evaluations: the network evaluations of a sample; None if the data decide them.
      values: the numbers `value`, `stderr` and `floor`, and `real`, the name of the images that the samples were compared with,
        by the metric's name.
    """

    setting: Mapping[str, Any]
    evaluations: float | None
    values: Mapping[str, Mapping[str, Any]]


class Section(NamedTuple):
    """A run on the page.

    Fields:
      name: the name of the run.
      command: the command that trained it.
      step: the step of its last checkpoint.
      parameters: the number of its parameters.
      figures: the figures of its last evaluation on the test split, each with its standard error.
      measured: the values of its samples, a setting each.
      refused: the settings that it refused, each with the sentence.
    """

    name: str
    command: str
    step: int
    parameters: int
    figures: Mapping[str, tuple[float, float | None]]
    measured: Sequence[Measured]
    refused: Sequence[str]

    @property
    def real(self) -> str | None:
        """The name of the images that the samples were compared with."""
        return next((str(value["real"]) for one in self.measured for value in one.values.values()), None)


class Asked(NamedTuple):
    """The part of the command that is the same for all runs; the fields are those arguments of `page`."""

    out: Path
    metrics: tuple[str, ...]
    extractor: Any
    sampling_steps: tuple[int, ...]
    n: int
    shown: int
    seed: int
    data_dir: Path | None


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
    asked = Asked(out, tuple(metrics), extractor_of(extractor), tuple(sampling_steps), n, shown, seed, data_dir)
    kept = _Kept(out / VALUES)
    sections: list[Section] = []
    for path, name in zip(runs, _names(runs), strict=True):
        sections.append(_section(path, name, asked, kept))
        if sections[-1].real != sections[0].real:
            raise UserError(
                f"{path} is held against {sections[-1].real}, and {runs[0]} against {sections[0].real}; put runs on one set on "
                "a page."
            )
    with disk.explained(f"Writing {out}", "name a folder of yours."):
        out.mkdir(parents=True, exist_ok=True)
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


def _section(path: Path, name: str, asked: Asked, kept: _Kept) -> Section:
    """A run's facts and values, measured where they are not kept."""
    import jax

    from jaxgen.pictures import Picture, save
    from jaxgen.runs.load import load

    run = load(path, data_dir=asked.data_dir)
    made = run.experiment
    if made.sample is None:
        raise UserError(f"{path} is a run whose model generates nothing; leave it out.")
    samples = run.sample(asked.shown, seed=asked.seed)
    if samples.ndim != 4:
        raise UserError(f"{path} is a run whose samples are points and no images; leave it out.")
    steps = asked.sampling_steps if "sampling_steps" in made.sampling else ()
    digest, measured, refused = run.digest(), [], []
    for setting in [{"sampling_steps": k} for k in steps] or [{}]:
        features = "pixels" if asked.extractor is None else f"{asked.extractor.name} {asked.extractor.version}"
        key = " ".join([digest, *asked.metrics, features, f"n={asked.n} seed={asked.seed}", json.dumps(setting)])
        if key not in kept.values:
            try:
                other = load(path, data_dir=asked.data_dir, anew=setting) if setting else run
            except UserError as error:
                refused.append(f"{_told(setting)}: {error}")
                continue
            kept.add(key, {"run": str(path), **_measured(other, asked)})
        measured.append(Measured(setting, kept.values[key]["evaluations"], kept.values[key]["values"]))
    with disk.explained(f"Writing {asked.out}", "name a folder of yours."):
        picture = Picture(samples, min(COLUMNS, asked.shown), f"{name}, {asked.shown} samples")
        save(picture, asked.out / "samples" / f"{name}.png")
    changed = made.config.changed() if made.config else {}
    flags = "".join(f" {flag_name(flag)} {value}" for flag, value in changed.items())
    figures = {of: value for of, value in paired(run.last().get("test", {})).items() if of in made.protocol}
    parameters = sum(x.size for x in jax.tree.leaves(run.state.params))
    command = f"{made.config.name if made.config else 'an experiment of your own'}{flags}"
    return Section(name, command, run.position, parameters, figures, measured, refused)


def _measured(run: Any, asked: Asked) -> dict[str, Any]:
    from jaxgen.game import averaged
    from jaxgen.samples.evaluations import network_evaluations

    made = run.experiment
    found = run.measure(asked.metrics, n=asked.n, extractor=asked.extractor, seed=asked.seed, checkpoint="last")
    values = {
        metric: {"value": m.value, "stderr": m.stderr, "floor": m.floor, "real": m.protocol.real} for metric, m in found.items()
    }
    return {"evaluations": network_evaluations(made.sample, averaged(run.state), made.given), "values": values}


def _names(runs: Sequence[Path]) -> list[str]:
    """The last parts of the paths; the whole ones, as one word, if two are equal."""
    short = [path.name for path in runs]
    return short if len(set(short)) == len(short) else [str(path).strip("/").replace("/", "-") for path in runs]


def _told(setting: Mapping[str, Any]) -> str:
    return " ".join(f"{flag_name(flag)} {value}" for flag, value in setting.items()) or "as trained"


def _metrics(sections: Sequence[Section]) -> list[str]:
    return list(dict.fromkeys(name for section in sections for one in section.measured for name in one.values))


def _curves(sections: Sequence[Section], metric: str) -> bytes:
    from jaxgen.measuring.curves import Point, curves

    points, floors = {}, []
    for section in sections:
        own = [(one.evaluations, one.values[metric]) for one in section.measured if metric in one.values]
        floors += [value["floor"] for _, value in own if value["floor"] is not None]
        points[section.name] = [Point(at, value["value"], value["stderr"]) for at, value in own if at]
    return curves(points, metric=metric, floor=floors[0] if floors else None)


def _text(sections: Sequence[Section], n: int, seed: int) -> list[str]:
    """The page, line by line."""
    lines = ["# Runs side by side", "", "| run | trained by | step | parameters | figures of the last evaluation, test |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for section in sections:
        figures = ", ".join(f"{name} {told(*value)}" for name, value in section.figures.items())
        of = f"| {section.name} | `{section.command}` | {section.step:,} | {section.parameters:,} "
        lines.append(f"{of}| {figures or 'none'} |")
    lines += ["", "## Samples"]
    for section in sections:
        lines += ["", section.name, "", f"![{section.name}](samples/{section.name}.png)"]
    metrics = _metrics(sections)
    for metric in metrics:
        lines += ["", f"## {metric} against network evaluations", "", f"![{metric}]({metric}.png)", ""]
        lines += ["| run | setting | network evaluations a sample | value |", "| --- | --- | --- | --- |"]
        for section in sections:
            for one in section.measured:
                at = "decided by the data" if one.evaluations is None else f"{one.evaluations:g}"
                shown = told(one.values[metric]["value"], one.values[metric]["stderr"])
                lines.append(f"| {section.name} | {_told(one.setting)} | {at} | {shown} |")
    if metrics:
        lines += ["", f"Of {n:,} samples against {sections[0].real}, seed {seed}. After +- stands a standard error."]
    refused = [f"- {section.name}, {sentence}" for section in sections for sentence in section.refused]
    return [*lines, *(["", "Not measured:", "", *refused] if refused else [])]
