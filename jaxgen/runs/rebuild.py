"""The experiment of a run, made again from its record: with its data where they lie now, or without them."""

import difflib
import importlib.util
import inspect
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from jaxgen import data, experiments, values
from jaxgen.data.stand_in import DataError, replayed
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.flags import check, flag_name, late, place
from jaxgen.game import TrainState, averaged, create_state
from jaxgen.runs import parts, run_record, workdir
from jaxgen.traces import programs
from jaxgen.types import Key
from jaxgen.version import __version__

Make = Callable[..., Experiment]


def rebuild(
    path: str | Path,
    experiment: Make | Experiment | str | None,
    *,
    data_dir: str | Path | None = None,
    dataset: str | data.Given | Mapping[str, str | data.Given] | None = None,
    anew: Mapping[str, Any] | None = None,
) -> tuple[Experiment, workdir.Workdir]:
    """The experiment of a run, made again with the flags on record, and the run's folder.

    The data are looked for where the user says, where the run had them, and where TFDS keeps prepared sets now. If they are not
    there, or hold other examples, the experiment is built from the record: it samples, and says why it cannot evaluate.

    Args:
      path: the workdir.
      experiment: the function, or the file, that made the run, where it is not a module of `experiments`; or the experiment
        itself, which is compared with the record and taken as it is.
      data_dir: the folder of the prepared sets, where it has changed.
      dataset: the set's name or place, or its sources, given anew; of a run on several sets these by their flags.
      anew: values in place of those on record, of flags that training does not depend on (`jaxgen.flags.Late`).

    Returns:
      The experiment and the folder.

    Raises:
      UserError: if training depends on a flag that is given anew, the flags are none of this function's, the data are given
        anew and the experiment has no such flag, or a value that no record holds is needed.
    """
    folder = workdir.read(place(path))
    if isinstance(experiment, Experiment):
        if data_dir is not None or dataset is not None or anew:
            raise UserError("An experiment brings its data and its flags with it; leave data_dir, dataset and anew out.")
        workdir.check(folder, experiment)
        return experiment, folder
    with parts.kept_in(folder.path):
        return _rebuilt(folder, experiment, data_dir, dataset, anew or {}), folder


def structure(path: str | Path, experiment: Make | Experiment | str | None) -> Experiment:
    """The experiment of a run as far as its networks go, made without its data if these are no text.

    Args:
      path: the workdir, or the folder of a network that another run keeps of it.
      experiment: the function, the file or the experiment, as in `rebuild`.

    Raises:
      UserError: as in `rebuild`.
    """
    if isinstance(experiment, Experiment):
        return experiment
    folder = workdir.read(place(path))
    make, flags, _ = _recorded(folder, experiment, {})
    why = f"The data of the run in {folder.path} are not needed."
    with parts.kept_in(folder.path):
        try:
            with replayed(_sources(folder.record), why, fill=0):
                return make(**flags)
        except UserError as error:
            if str(error) != why:
                raise
        return _rebuilt(folder, experiment, None, None, {})


def _recorded(
    folder: workdir.Workdir, experiment: Make | str | None, anew: Mapping[str, Any]
) -> tuple[Make, dict[str, Any], dict[str, Any]]:
    """The function that made a run, its flags on record or anew, and those of them that were data given in Python."""
    make, flags = find_experiment(experiment, folder), _as_arguments(folder.record["flags"])
    unknown = {flag: value for flag, value in flags.items() if values.is_described(value)}
    check_late(make, anew, str(folder.path))
    flags |= anew
    unknown = {flag: value for flag, value in unknown.items() if flag not in anew}
    given = {flag: unknown.pop(flag) for flag in run_record.datasets(folder.record) if flag in unknown}
    if unknown:
        flag, value = next(iter(unknown.items()))
        raise UserError(
            f"{folder.path} was trained with a value of --{flag.replace('_', '-')} that only Python has "
            f"({values.shown(value)}); make the same experiment again, `made = experiment({flag}=..., ...)`, and give it to "
            f"`jaxgen.load({str(folder.path)!r}, experiment=made)`."
        )
    flags |= {flag: _absent(value) for flag, value in given.items()}
    try:
        check(make, flags)
    except UserError as error:
        reason = str(error).rstrip(".")
        raise UserError(
            f"{folder.path} has flags on record that this code does not take{written_by(folder)}: {reason}."
        ) from None
    return make, flags, given


def _rebuilt(
    folder: workdir.Workdir,
    experiment: Make | str | None,
    data_dir: str | Path | None,
    dataset: str | data.Given | Mapping[str, str | data.Given] | None,
    anew: Mapping[str, Any],
) -> Experiment:
    make, flags, given = _recorded(folder, experiment, anew)
    moved: dict[str, Any] = {} if dataset is None else dict(dataset) if isinstance(dataset, Mapping) else {"dataset": dataset}
    if data_dir is not None:
        moved["data_dir"] = str(place(str(data_dir)))
    for name in moved.keys() - flags.keys():
        raise UserError(f"The experiment of {folder.path} has no --{name.replace('_', '-')}; leave it out.")
    flags |= moved
    if missing := [flag for flag in given if flag not in moved]:
        again = "..." if missing == ["dataset"] else f"{{{', '.join(f'{flag!r}: ...' for flag in missing)}}}"
        why = (
            f"The data of the run in {folder.path} were given in Python ({values.shown(given[missing[0]])}) and lie nowhere; "
            f"give the same again: `jaxgen.load({str(folder.path)!r}, dataset={again})`."
        )
        return _without_data(make, flags, _sources(folder.record), why)
    return _made(make, flags, folder, anew=bool(moved))


def check_late(make: Make, names: Iterable[str], run: str, others: Iterable[str] = ()) -> None:
    """Refuses flags that are no flags of sampling and measuring.

    Args:
      make: the function that made the run.
      names: the flags that are given anew.
      run: the run's name, for the message.
      others: other flags that might have been meant, for the message.

    Raises:
      UserError: if training depends on one of the flags, or the experiment does not have it.
    """
    free = late(make)
    for name in names:
        if name in free:
            continue
        if name in inspect.signature(make).parameters:
            may = f"only {', '.join(map(flag_name, free))} may be given anew" if free else "no flag may be given anew"
            raise UserError(f"{flag_name(name)} decides what {run} was trained to, and stays as it is on record; {may}.")
        near = difflib.get_close_matches(name, [*free, *others], n=1)
        known = ", ".join(map(flag_name, free)) or "none"
        hint = f"perhaps you meant {flag_name(near[0])}" if near else f"those of sampling and measuring are {known}"
        raise UserError(f"There is no {flag_name(name)} of {run}; {hint}.")


def _absent(given: Mapping[str, str]) -> data.Source:
    """A source in place of those that a run was given in Python, while the experiment is built from its record."""

    def gather(indices: np.ndarray) -> NoReturn:
        raise UserError(f"The data {values.shown(given)} were given in Python and are not at hand; give the same again.")

    return data.Source(given["value"], given["fingerprint"], 1, gather)


def find_experiment(given: Callable[..., Experiment] | str | None, folder: workdir.Workdir) -> Callable[..., Experiment]:
    """The function that made a run: the given one, that of the given file, or the one of `experiments` on record."""
    if callable(given):
        return given
    name = folder.record["experiment"]
    if given is None and name is None:
        raise UserError(f"{folder.path} has no flags on record; give load() its experiment, or the function that makes it.")
    if given is None and not name.startswith("experiments."):
        raise UserError(
            f"{folder.path} was trained by a file of its user's; name it to run it: "
            f"`{shlex.join(['--experiment', str(folder.record['file'])])}`."
        )
    name = given or name
    if name.startswith("experiments."):
        # Only what `jaxgen list` shows: a record may say anything.
        if name.removeprefix(experiments.PREFIX) not in experiments.names():
            raise UserError(
                f"There is no {name} here, which {folder.path} needs{written_by(folder)}; `jaxgen list` shows what there is."
            )
        return experiments.find(name)
    # The module's name is none that another could be imported by: a file may well be called jax.py.
    spec = importlib.util.spec_from_file_location(f"file:{name}", name) if Path(name).is_file() else None
    if spec is None or spec.loader is None:
        raise UserError(f"{name} is no Python file; name the one that holds the experiment.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{name} is no Python that can be read ({error.msg}, line {error.lineno}); mend it.") from None
    if not callable(getattr(module, "experiment", None)):
        raise UserError(f"{name} has no function `experiment`; name the file that has it.")
    return module.experiment


def _made(make: Make, flags: dict[str, Any], folder: workdir.Workdir, *, anew: bool) -> Experiment:
    """The experiment with its data, or with stand-ins where the data are missing or have changed."""
    where = flags.get("data_dir")
    moved = not anew and where is not None and not Path(where).expanduser().is_dir()
    try:
        made = make(**({**flags, "data_dir": None} if moved else flags))
    except DataError as error:
        why = str(error)
        if not _sources(folder.record):
            raise
    else:
        differing = workdir.altered(folder, made)
        if made.config is None or not differing:
            return made
        why = f"The data changed since the run in {folder.path} was trained ({', '.join(differing)})."
        if not _sources(folder.record):
            raise UserError(why)
    mend = "" if anew else " Say where its data lie by --data-dir or --dataset."
    return _without_data(make, flags, _sources(folder.record), why + mend)


def _sources(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The records of the sources that a run read; those of earlier versions cannot stand in and are left out."""
    return [source for source in record["data"].get("sources", ()) if "features" in source]


def written_by(folder: workdir.Workdir) -> str:
    """The version that wrote a run's record, where it is another than this one."""
    versions = folder.record.get("versions")
    wrote = versions.get("jaxgen") if isinstance(versions, dict) else None
    return (
        f" (it was written by jaxgen {wrote}, this is {__version__}: install that version)"
        if wrote not in (None, __version__)
        else ""
    )


def _as_arguments(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in flags.items()}


def _without_data(make: Make, flags: Mapping[str, Any], record: Sequence[Mapping[str, Any]], why: str) -> Experiment:
    """The experiment from stand-ins of its sources; evaluators and pictures, which need their examples, are refused."""

    def built(fill: int) -> Experiment:
        with replayed(record, why, fill=fill):
            return make(**flags)

    def refuse(*args: Any, **options: Any) -> NoReturn:
        raise UserError(why)

    made = built(0)
    # A sampler that looked at examples while it was built would draw other samples, and not say so.
    independent = made.sample is not None and _constants(made) == _constants(built(1))
    return made._replace(
        evaluators=dict.fromkeys(made.evaluators, refuse),
        final=dict.fromkeys(made.final, refuse),
        pictures=dict.fromkeys(made.pictures, refuse),
        sample=made.sample if independent or made.sample is None else refuse,
    )


def _constants(experiment: Experiment) -> list[Any]:
    """The numbers in an experiment's sampler that are neither state nor noise, as its trace shows them."""
    assert experiment.sample is not None
    sample = experiment.sample

    def begin(key: Key) -> TrainState:
        return create_state(key, *experiment.initial(key), experiment.players, ema=experiment.ema)

    state = jax.eval_shape(begin, jax.random.key(0))
    features = {} if experiment.given is None else experiment.given.features
    given = {
        f: jax.ShapeDtypeStruct((1, *shape), jax.dtypes.canonicalize_dtype(dtype)) for f, (shape, dtype) in features.items()
    }
    given["index"] = jax.ShapeDtypeStruct((1,), jax.numpy.int32)
    traced = jax.make_jaxpr(lambda state, key, given: sample(averaged(state), key, given))(state, state.key, given)
    found: list[Any] = []
    for jaxpr, constants in programs(traced):
        found += map(_bits, constants)
        found += (_bits(x.val) for equation in jaxpr.eqns for x in equation.invars if hasattr(x, "val"))
    return found


def _bits(x: Any) -> tuple[str, bytes]:
    array = np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key) else x)
    return str(array.dtype), array.tobytes()
