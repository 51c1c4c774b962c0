"""An experiment as one value: data, players, evaluators and pictures; and the record of the flags that made it."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jaxgen import experiments, values
from jaxgen.alarms import Alarm
from jaxgen.best import Best, renamed
from jaxgen.common_flags import common, described
from jaxgen.data import HeldOut, Opened, Source, Stream, located, record_opened, recording_opened, validating
from jaxgen.errors import UserError
from jaxgen.evaluate import Evaluator, joined
from jaxgen.flags import checked
from jaxgen.game import Player, TrainState
from jaxgen.game.averages import Decays
from jaxgen.network import FrozenNetwork, Network, initialize, variables
from jaxgen.pictures import Picture
from jaxgen.samples.conditions import Conditions
from jaxgen.types import Array, Batch, Key, Params, PyTree, Schedule, Vars

T = TypeVar("T")


class Config(NamedTuple):
    """The record of an experiment: the function that made it, the flags, and the data that it opened.

    Fields:
      function: the function that made it.
      flags: the arguments of the function, and the flags of `common_flags.common`; those of a validation split only if there is
        one.
      opened: every split of every set that it opened, to train on or to evaluate on.
    """

    function: Callable[..., "Experiment"]
    flags: Mapping[str, Any]
    opened: tuple[Opened, ...] = ()

    @property
    def name(self) -> str:
        """`experiments.vae` of an experiment that comes with this package, `my_vae.py` of a file of the user's."""
        # By its place: the module has other names too, `__main__` under `python -m` and `jaxgen.experiments.vae`.
        return experiments.recorded_name(Path(self.file)) or Path(self.file).name

    def changed(self) -> dict[str, Any]:
        """The flags that are not at their defaults."""
        defaults = {name: p.default for name, p in inspect.signature(self.function).parameters.items()}
        return {
            flag: value
            for flag, value in self.flags.items()
            if flag in defaults and (not values.plain(value) or value != defaults[flag])
        }

    @property
    def datasets(self) -> list[str]:
        """The flags that name the data, or are the data: `dataset`, and others whose value `data.load` was given."""
        opened = [one.dataset for one in self.opened if one.dataset is not None]
        return [
            flag
            for flag, value in self.flags.items()
            if flag == "dataset"
            or any(value is dataset or (type(value) is type(dataset) is str and value == dataset) for dataset in opened)
        ]

    @property
    def file(self) -> str:
        """The path of the file in which the function is written."""
        return str(Path(inspect.getfile(inspect.unwrap(self.function))).resolve())


class Experiment(NamedTuple):
    """The data, the players and all else that `fit` runs.

    Fields:
      train: the stream of training batches.
      players: the players, in the order of their turns.
      steps: the number of steps to train.
      networks: the networks by name, from which a state begins, and which a loaded run hands out (`Run.network`).
      init: the function `init(key) -> (params, vars)`, by player or frozen part. None means `initialize(networks)`; one is
        written by hand where a game begins with more than its networks, such as a multiplier, or with another run's parameters.
      frozen: the networks of other runs that stay as they are (`jaxgen.frozen`), by the name that their parameters and
        variables have in a state. A run keeps them once in its folder, and not in its checkpoints.
      splits: the data by split: `train` and `test`, or several domains, as `train/photos` and `test/photos`. Samples are
        measured against them, and figures name them. With a validation split (`common_flags`) there is `validation` as well.
      evaluators: the functions that are run every `evaluate_every` steps; the name is the split they report on.
      final: the evaluators that are run at the end of training, and by `jaxgen evaluate`: those that are too slow for more.
        With a validation split (`common_flags`) the evaluation of the test split is here too.
      pictures: the pictures that are drawn at every evaluation, `(state, key) -> Picture`.
      sample: the sampler, `(state, key, given) -> images [n, H, W, C]` in [0, 1], or points `[n, D]`; pure, so that it can be
        traced. `given` is a batch of n rows (`jaxgen.given`): the samples' numbers, `index`, and what they are conditioned on.
        None where a model generates nothing.
      given: the conditions of samples, and what they are by default: classes, captions, images to translate or to complete.
        None for a model without conditions.
      ema: decay of the averages of parameters and variables that are evaluated and sampled from, as in `make_train_step`: a
        number is the decay of a debiased average, a schedule is taken as it is, and None keeps no averages. Of several, as in
        `(0.9999, 0.999)`, the first is evaluated and sampled from, and `jaxgen.load(W, ema=1)` takes the second. They are those
        of every player that has no `ema` of its own.
      accumulate: micro-batches in a batch.
      schedules: the schedules that are logged by name, and compared when a run goes on with more steps.
      best: the evaluated value, `split/name`, whose minimum marks the best checkpoint; `Largest("test/accuracy")` names one
        whose maximum does. Of a domain it is `test/photos/iou`. Of equal values the earliest step is the best, and a value that
        is not finite never is. The value must mean the same at every step: a function of what is sampled from or measured, and
        not of the step, of a weight that changes in training, of a multiplier or of an opponent. A value of `final` exists at
        the steps at which a training ended. None where no evaluated value is such.
      alarms: the evaluated values that must not fall (`Alarm`): when one does, the run says so in a sentence, and goes on.
      sampling: the flags that move the samples while the parameters stay the same, for the protocol of what is measured on
        them: `("sampler", "sampling_steps")`.
      protocol: the evaluated values that are figures to compare, each with every flag that moves it while the parameters stay
        the same: `{"nll": ("binarization", "nll_samples")}`. Flags of the network's function, such as its activation, belong to
        the model, whose figure it is.
      config: a record that is filled in by `recorded`.
    """

    train: Stream
    players: Mapping[str, Player]
    steps: int
    networks: Mapping[str, Network] = {}
    init: Callable[[Key], tuple[Params, Vars]] | None = None
    frozen: Mapping[str, FrozenNetwork] = {}
    splits: Mapping[str, Source] = {}
    evaluators: Mapping[str, Evaluator] = {}
    final: Mapping[str, Evaluator] = {}
    pictures: Mapping[str, Callable[[TrainState, Key], Picture]] = {}
    sample: Callable[[TrainState, Key, Batch], Array] | None = None
    given: Conditions | None = None
    ema: Decays | None = None
    accumulate: int = 1
    schedules: Mapping[str, Schedule] = {}
    best: Best | None = "test/loss"
    alarms: tuple[Alarm, ...] = ()
    sampling: tuple[str, ...] = ()
    protocol: Mapping[str, tuple[str, ...]] = {}
    config: Config | None = None

    def initial(self, key: Key) -> tuple[Params, Vars]:
        """The parameters and variables before the first step, `(params, vars)`, by name; with those of the frozen parts."""
        for name in self.frozen.keys() & {*self.players, *self.networks}:
            raise ValueError(f"{name!r} is frozen, and a player or a network to be trained as well")
        params, vars = (self.init or initialize(self.networks))(key)
        of_frozen = {name: part.params for name, part in self.frozen.items()}
        return {**params, **of_frozen}, {**vars, **{name: part.vars for name, part in self.frozen.items() if part.vars}}

    def variables(self, params: Params, vars: Vars, name: str) -> dict[str, PyTree]:
        """The variables of one of the networks for `module.apply`: `{"params": ..., "batch_stats": ...}`.

        Args:
          params: parameters by name, as a state has them.
          vars: variables by name.
          name: the name of the network.
        """
        # Players that move at once (`objectives.simultaneous`) are one player, whose parameters are those of its networks.
        joint = (own for player, own in params.items() if player not in self.networks and isinstance(own, Mapping))
        by_network = {network: own[network] for own in joint for network in own if network in self.networks}
        return variables({**by_network, **params}, vars, name)

    def __repr__(self) -> str:
        name = self.config.name if self.config else "an experiment"
        return (
            f"Experiment({name}, {self.steps:,} steps, players: {', '.join(self.players)}, data: {', '.join(self.train.names)})"
        )


def recorded(function: Callable[..., Experiment]) -> Callable[..., Experiment]:
    """Makes a function whose keyword arguments are an experiment's flags record them in the experiment it returns.

    With the record a run can be named, compared with the one that a folder holds, and built again by `jaxgen.load`. The data
    that the function opens are recorded as well, so that a run notices when any of them changed. What the signature declares of
    the flags is held: their types, and the ranges of `jaxgen.flags`.

    The function gets the flags of `common_flags.common` too. `data_dir` and `cache_budget` are those of every `data.load`
    within it that is not given others. With `validation`, `data.load` gives it fewer training examples, and the held-out ones
    are evaluated as the test examples would be: its evaluators of `test` report on `validation` instead, its `best` and its
    alarms follow, and the test split is evaluated at the end of training.

    Args:
      function: returns an `Experiment`; its arguments are numbers, strings, booleans, None or tuples of these, and in Python
        other values (`jaxgen.values`).

    Returns:
      The function, whose experiments have a `config`. It raises a `UserError` for a flag that it does not have, or of another
      type or range than is declared.
    """
    signature, make = inspect.signature(function), checked(function)
    more = {name: p for name, p in inspect.signature(common).parameters.items() if name not in signature.parameters}

    @functools.wraps(function)
    def build(*args: Any, **flags: Any) -> Experiment:
        shared = {name: flags.pop(name) for name in more if name in flags}
        held_out = common(**shared)
        where: dict[str, Any] = {
            name: shared.get(name, more[name].default) for name in ("data_dir", "cache_budget") if name in more
        }
        with recording_opened() as opened, located(**{name: value for name, value in where.items() if name in shared}):
            made = make(*args, **flags) if held_out is None else _validated(lambda: make(*args, **flags), held_out)
        bound = signature.bind(*args, **flags)
        bound.apply_defaults()
        chosen = {} if held_out is None else {"validation": held_out.share, "validation_seed": held_out.seed}
        for one in opened:  # the function of another experiment may have called this one
            record_opened(*one)
        return made._replace(config=Config(build, {**bound.arguments, **where, **chosen}, tuple(opened)))

    last = [p for p in signature.parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
    own = [p for p in signature.parameters.values() if p not in last]
    build.__signature__ = signature.replace(parameters=[*own, *more.values(), *last])  # type: ignore[attr-defined]
    build.__annotations__ = {**function.__annotations__, **{name: p.annotation for name, p in more.items()}}
    build.__doc__ = described(function.__doc__, build.__signature__.parameters)  # type: ignore[attr-defined]
    return build


def _validated(make: Callable[[], Experiment], held_out: HeldOut) -> Experiment:
    """An experiment with a validation split, made of one without.

    It is made twice: with the test split, and with the held-out examples in its place. So whatever it does with test examples,
    to measure or to show them, it does with the held-out ones while it trains.
    """
    with validating(held_out) as splits:
        tested = make()
        if not splits.used:
            raise UserError(
                "--validation holds out a share of the split train, which this experiment does not read by data.load; "
                "leave it out."
            )
        splits.in_place_of_test = True
        made = make()

    def of_held_out(name: str) -> str:
        return re.sub("^test(?=/|$)", "validation", name)

    def by_held_out(by_split: Mapping[str, T]) -> dict[str, T]:
        return {of_held_out(split): value for split, value in by_split.items()}

    often, at_end = (of_split(evaluators, "test") for evaluators in (tested.evaluators, tested.final))
    tests = {split: joined(*(e[split] for e in (often, at_end) if split in e)) for split in {**often, **at_end}}
    return made._replace(
        splits={**by_held_out(made.splits), **of_split(tested.splits, "test")},
        evaluators=by_held_out(made.evaluators),
        final={**by_held_out(made.final), **tests},
        best=renamed(made.best, of_held_out),
        alarms=tuple(alarm._replace(value=of_held_out(alarm.value)) for alarm in made.alarms),
    )


def of_split(by_split: Mapping[str, T], split: str) -> dict[str, T]:
    """The entries of a split and of its domains.

    >>> of_split({"train": 1, "test/photos": 2, "test/paintings": 3}, "test")
    {'test/photos': 2, 'test/paintings': 3}
    """
    return {name: value for name, value in by_split.items() if name == split or name.startswith(f"{split}/")}
