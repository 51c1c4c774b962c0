"""Subcommands for experiments and their runs: list, run, sample, translate, digest, replay."""

import inspect
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from jaxgen import experiments
from jaxgen.commands import arguments
from jaxgen.commands.command_line import run_experiment
from jaxgen.errors import UserError
from jaxgen.flags import Count, Folder, Place, Positive, Seed, Whole, checked, flag_name


def list_experiments() -> None:
    """List the experiments, each with the first line of its description."""
    for name in experiments.names():
        print(f"jaxgen run {name:20} {experiments.summary(name)}")


def run(name: Positional[str | None] = None, flags: Positional[tuple[str, ...]] = ()) -> None:
    """Train an experiment, or go on with its run; `jaxgen run NAME --help` shows its flags.

    Without a name, it lists the experiments.

    Args:
      name: the experiment's name, as `jaxgen list` shows it.
      flags: the experiment's flags.
    """
    if name is None:
        return list_experiments()
    if name.startswith("-"):
        raise UserError(f"Name the experiment first: `jaxgen run NAME {' '.join([name, *flags])}`; `jaxgen list` shows them.")
    if name.endswith(".py"):
        raise UserError(f"{name} is a file; run it by `python {name}`.")
    function = experiments.find(name)
    run_experiment(function, list(flags), prog=f"jaxgen run {name.removeprefix(experiments.PREFIX)}")


@checked
def sample(
    workdir: Positional[Place],
    *,
    n: Count | None = None,
    label: tuple[str, ...] = (),
    caption: tuple[str, ...] = (),
    given: Place | None = None,
    resize: bool = False,
    out: Place = Path("samples.png"),
    seed: Seed | None = None,
    best: bool = False,
    step: Whole | None = None,
    sigma_rel: Positive | None = None,
    experiment: str | None = None,
    data_dir: Place | None = None,
    dataset: str | None = None,
    anew: tuple[str, ...] = (),
) -> None:
    """Draw samples from a trained run into a picture, an array or a folder. This needs no data.

    Args:
      workdir: the run.
      n: the number of samples; by default 64, or as many as --given has images.
      label: the classes of the samples, by number or by name, one after the other; by default all in turn.
      caption: the texts that the samples are made from, one after the other, each in quotes.
      given: the images that the samples are made from: a folder of pictures, an .npy or an .npz file.
      resize: whether to resize the central square of every given picture to the model's size.
      out: the picture to write; .npy writes the array, [n, H, W, C] in [0, 1] or points [n, D], instead, and a folder,
        which ends in a /, one picture per sample. Both are written as the samples are drawn.
      seed: the seed of the samples; by default the run's.
      best: whether to use the best checkpoint instead of the last.
      step: the step of the checkpoint to use; by default the last one's.
      sigma_rel: the relative width of the averages to use, made of those in the checkpoints of a run with --ema-widths; by
        default the averages are those that were kept.
      experiment: the file that made the run, where it is not one of `jaxgen list`.
      data_dir: the folder that the run's dataset lies in now, if it was moved.
      dataset: the folder of the run's dataset, if it was moved or renamed.
      anew: the experiment's own flags of sampling, in place of those on record: `--sampling-steps 50`, short for
        `--anew sampling-steps=50`.
    """
    from jaxgen.runs.load import load
    from jaxgen.samples import exports
    from jaxgen.samples.conditions import images_of

    folder = isinstance(out, Folder) or out.is_dir()
    if not folder and out.suffix not in (".png", ".npy"):
        raise UserError(f"--out is {out}; name a .png or a .npy file in a folder of yours, or a folder that ends in a /.")
    if resize and given is None:
        raise UserError("--resize goes with --given, whose pictures it brings to the model's size; give both, or leave it out.")
    (chosen,) = settings(sample, workdir, experiment, anew, several=False)
    run = load(
        workdir,
        step=step,
        best=best,
        sigma_rel=sigma_rel,
        experiment=experiment,
        data_dir=data_dir,
        dataset=dataset,
        anew=chosen,
    )
    typed = {feature: list(words) for feature, words in (("label", label), ("caption", caption)) if words}
    if typed and given is not None:
        raise UserError("--given does not go with --label or --caption; give the one or the others.")
    images = None if given is None else images_of(given, run.experiment.given, resize=resize)
    n = n or (64 if images is None else images.length)
    parts = run.samples(n, given=images or typed or None, seed=seed)
    if folder:
        exports.to_folder(parts, n, out)
    elif out.suffix == ".npy":
        exports.to_array(parts, n, out)
    else:
        exports.to_picture(parts, n, out, f"{n} samples of {workdir} at step {run.position:,}")
    print(out)


@checked
def translate(
    workdir: Positional[Place],
    folder: Positional[Place],
    *,
    out: Place,
    resize: bool = False,
    seed: Seed | None = None,
    best: bool = False,
    step: Whole | None = None,
    experiment: str | None = None,
    data_dir: Place | None = None,
    dataset: str | None = None,
    anew: tuple[str, ...] = (),
) -> None:
    """Translate every picture of a folder by a trained run, into a folder of pictures with the same names.

    Args:
      workdir: the run of a model that makes images from images.
      folder: the folder of pictures; or an .npy or .npz file of images.
      out: the folder to write to, which is new or empty; every picture has the name of the one that it was made from, as a PNG.
      resize: whether to resize the central square of every picture to the model's size.
      seed: the seed of what the model draws; by default the run's.
      best: whether to use the best checkpoint instead of the last.
      step: the step of the checkpoint to use; by default the last one's.
      experiment: the file that made the run, where it is not one of `jaxgen list`.
      data_dir: the folder that the run's dataset lies in now, if it was moved.
      dataset: the folder of the run's dataset, if it was moved or renamed.
      anew: the experiment's own flags of sampling, in place of those on record: `--direction to-photo`, short for
        `--anew direction=to-photo`.
    """
    from jaxgen.runs.load import load
    from jaxgen.samples import exports
    from jaxgen.samples.conditions import images_of

    (chosen,) = settings(translate, workdir, experiment, anew, several=False)
    run = load(workdir, step=step, best=best, experiment=experiment, data_dir=data_dir, dataset=dataset, anew=chosen)
    images = images_of(folder, run.experiment.given, resize=resize)
    names = _names(folder) if folder.is_dir() else ()
    exports.to_folder(run.samples(images.length, given=images, seed=seed), images.length, out, names=names)
    print(f"{images.length:,} pictures in {out}")


def _names(folder: Path) -> list[str]:
    """The names of a folder's pictures, as PNGs, in the order in which they are read."""
    from jaxgen.data.folder import scan

    paths = [Path(path).relative_to(folder) for path, _, _ in scan(folder).pictures]
    names = [str(path.with_suffix(".png")) for path in paths]
    # a.jpg beside a.gif
    return names if len(set(names)) == len(names) else [f"{path}.png" for path in paths]


def settings(
    command: Callable[..., Any], run: Path, experiment: str | None, anew: Sequence[str], *, several: bool
) -> list[dict[str, Any]]:
    """The values that were typed for a run's own flags.

    Args:
      command: the subcommand, whose own flags might have been meant by a word that is no flag.
      run: the run.
      experiment: the file that made it, where it is not one of `jaxgen list`.
      anew: the words `name=value`.
      several: whether a flag may have several values.

    Returns:
      All combinations of the flags' values; one, of no flags, if nothing was typed.

    Raises:
      UserError: if training depends on a flag, there is no such flag, or it has several values and may not.
    """
    if not anew:
        return [{}]
    from jaxgen.runs import workdir
    from jaxgen.runs.rebuild import check_late, find_experiment

    make = find_experiment(experiment, workdir.read(run))
    anew = arguments.switched(make, anew)
    names = [word.partition("=")[0].replace("-", "_") for word in anew]
    check_late(make, names, str(run), [*inspect.signature(command).parameters])
    values = arguments.anew(make, anew)
    for name, found in values.items():
        if len(found) > 1 and not several:
            raise UserError(f"{flag_name(name)} has {len(found)} values; give one, or measure them all by `jaxgen evaluate`.")
    return [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]


def digest(workdir: Positional[Place]) -> None:
    """Print one hash over the latest checkpoint: parameters, optimizers, averages, variables, key, step, data position.

    Below it stand the frozen parts that the run was trained with, each with its own hash and the run that it is of.

    Args:
      workdir: the run.
    """
    from jaxgen.runs import load
    from jaxgen.runs.workdir import read

    print(load.digest(workdir))
    for name, told in read(workdir).record.get("frozen", {}).items():
        print(f"frozen {name}: {told['digest']}, the network {told['network']!r} of {told['run']} at step {told['step']:,}")


def replay(workdir: Positional[Place], *, experiment: str | None = None) -> None:
    """Repeat the step in which a run was not finite, and say which operation made it.

    Args:
      workdir: the run.
      experiment: the file that made the run, where it is not one of `jaxgen list`.
    """
    from jaxgen.training.not_finite import replay

    print(*replay(workdir, experiment=experiment), sep="\n")
