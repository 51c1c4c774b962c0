"""An experiment: the data, the players and what to look at, as one value; and the record of the flags that made it."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxgen import experiments, values
from jaxgen.data import HeldOut, Opened, Stream, noted, reading, validating
from jaxgen.errors import UserError
from jaxgen.evaluate import Evaluator
from jaxgen.flags import Seed, Share, held
from jaxgen.game import Player, TrainState
from jaxgen.logs import Track
from jaxgen.pictures import Picture
from jaxgen.types import Array, Key, Params, Schedule, Vars


class Config(NamedTuple):
    """How an experiment was made: which function, with which flags, and which data it opened.

    Fields:
      function: the function that made it.
      flags: its arguments; those of `shared` only where a validation split is held out.
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
    def held_out(self) -> HeldOut | None:
        """What is held out of the training examples for validation; None where nothing is."""
        share = self.flags.get("validation")
        return HeldOut(share, self.flags.get("validation_seed", 0)) if share else None

    @property
    def file(self) -> str:
        """Where the function is written."""
        return str(Path(inspect.getfile(inspect.unwrap(self.function))).resolve())


class Experiment(NamedTuple):
    """What `fit` runs.

    Fields:
      train: the stream of training batches.
      init: the function `init(key) -> (params, vars)`, by player or frozen part; it may load from another run's checkpoint.
      players: the players, in the order of their turns.
      steps: the number of steps to train.
      evaluators: the functions that are run every `evaluate_every` steps; the name is the split they report on.
      final: the evaluators that are run when training is through, and by `jaxgen evaluate`: what is too slow to do more often.
        With a validation split (`shared`) the evaluation of the test split is here too.
      pictures: the pictures that are drawn at every evaluation, `(state, key) -> Picture`.
      sample: the sampler, `(state, key, n) -> images [n, H, W, C]` in [0, 1], or points `[n, D]`; pure, so that it can be
        traced. None where a model generates nothing.
      classes: the number of classes of labelled samples, of which the i-th of a draw is of class i modulo this; None if they
        have no labels.
      ema: decay of the averages of parameters and variables that are evaluated and sampled from, as in `make_train_step`: a
        number is the decay of a debiased average, a schedule is taken as it is, and None keeps no averages.
      accumulate: micro-batches in a batch.
      schedules: the schedules that are logged by name, and compared when a run goes on with more steps.
      best: the evaluated value, `split/name`, whose minimum marks the best checkpoint. It must mean the same at every step: a
        function of what is sampled from or measured, and not of the step, of a weight that changes in training, of a
        multiplier or of an opponent. None where no evaluated value is such.
      sampling: the flags that move the samples while the parameters stay the same, for the protocol of what is measured on
        them: `("sampler", "sampling_steps")`.
      protocol: the evaluated values that are figures to compare, each with every flag that moves it while the parameters stay
        the same: `{"nll": ("binarization", "nll_samples")}`. Flags of the network's function, such as its activation, belong to
        the model, whose figure it is.
      config: a record that is filled in by `recorded`.
    """

    train: Stream
    init: Callable[[Key], tuple[Params, Vars]]
    players: Mapping[str, Player]
    steps: int
    evaluators: Mapping[str, Evaluator] = {}
    final: Mapping[str, Evaluator] = {}
    pictures: Mapping[str, Callable[[TrainState, Key], Picture]] = {}
    sample: Callable[[TrainState, Key, int], Array] | None = None
    classes: int | None = None
    ema: float | Schedule | None = None
    accumulate: int = 1
    schedules: Mapping[str, Schedule] = {}
    best: str | None = "test/loss"
    sampling: tuple[str, ...] = ()
    protocol: Mapping[str, tuple[str, ...]] = {}
    config: Config | None = None

    def __repr__(self) -> str:
        name = self.config.name if self.config else "an experiment"
        return (
            f"Experiment({name}, {self.steps:,} steps, players: {', '.join(self.players)}, data: {', '.join(self.train.names)})"
        )


@held
def shared(*, validation: Share = 0.0, validation_seed: Seed | None = None) -> HeldOut | None:
    """What the flags say that every experiment has.

    Args:
      validation: share of the training examples that is held out. These are evaluated in training and mark the best checkpoint;
        the test split is evaluated once, at the end.
      validation_seed: the seed of the choice of the held-out examples, 0 by default; it does not depend on the seed of the run.

    Returns:
      What to hold out, if anything.
    """
    if validation_seed is not None and not validation:
        raise UserError("--validation-seed goes with --validation; give a share such as --validation 0.1, or leave it out.")
    return HeldOut(validation, validation_seed or 0) if validation else None


def recorded(function: Callable[..., Experiment]) -> Callable[..., Experiment]:
    """Makes a function whose keyword arguments are an experiment's flags record them in the experiment it returns.

    With the record a run can be named, compared with the one that a folder holds, and built again by `jaxgen.load`. The data
    that the function opens are recorded as well, so that a run notices when any of them changed. What the signature declares of
    the flags is held: their types, and the ranges of `jaxgen.flags`.

    The function gets the flags of `shared` too. With `validation`, `data.load` gives it fewer training examples, and the
    held-out ones are evaluated as the test examples would be: its evaluators of `test` report on `validation` instead, its
    `best` follows, and the test split is evaluated when training is through.

    Args:
      function: returns an `Experiment`; its arguments are numbers, strings, booleans, None or tuples of these, and in Python
        other values (`jaxgen.values`).

    Returns:
      The function, whose experiments have a `config`. It raises a `UserError` for a flag that it does not have, or of another
      type or range than is declared.
    """
    signature, make = inspect.signature(function), held(function)
    more = {name: p for name, p in inspect.signature(shared).parameters.items() if name not in signature.parameters}

    @functools.wraps(function)
    def build(*args: Any, **flags: Any) -> Experiment:
        held_out = shared(**{name: flags.pop(name) for name in more if name in flags})
        with reading() as opened:
            made = make(*args, **flags) if held_out is None else _validated(lambda: make(*args, **flags), held_out)
        bound = signature.bind(*args, **flags)
        bound.apply_defaults()
        chosen = {} if held_out is None else {"validation": held_out.share, "validation_seed": held_out.seed}
        for one in opened:  # the function of another experiment may have called this one
            noted(*one)
        return made._replace(config=Config(build, {**bound.arguments, **chosen}, tuple(opened)))

    last = [p for p in signature.parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
    own = [p for p in signature.parameters.values() if p not in last]
    build.__signature__ = signature.replace(parameters=[*own, *more.values(), *last])  # type: ignore[attr-defined]
    build.__annotations__ = {**function.__annotations__, **{name: p.annotation for name, p in more.items()}}
    build.__doc__ = _with_arguments(function.__doc__, more)
    return build


def _with_arguments(doc: str | None, names: Mapping[str, Any]) -> str | None:
    """A function's description with the arguments of `shared`, each as it is described there."""
    section = re.search(r"Args:\n((?:  .*\n)+)", inspect.getdoc(shared) or "")
    found = re.search(r"Args:\n(?:  .*\n)+", inspect.cleandoc(doc or ""))
    if section is None or found is None:
        return doc
    entries = re.finditer(r"^  (\w+): .*\n(?:    .*\n)*", section[1], flags=re.MULTILINE)
    added = "".join(entry[0] for entry in entries if entry[1] in names)
    whole = inspect.cleandoc(doc or "")
    return whole[: found.end()] + added + whole[found.end() :]


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

    def renamed(evaluators: Mapping[str, Evaluator]) -> dict[str, Evaluator]:
        return {"validation" if split == "test" else split: evaluator for split, evaluator in evaluators.items()}

    at_end = [evaluators["test"] for evaluators in (tested.evaluators, tested.final) if "test" in evaluators]

    def test(state: TrainState, key: Key, track: Track) -> Mapping[str, float]:
        return {name: value for evaluator in at_end for name, value in evaluator(state, key, track).items()}

    return made._replace(
        evaluators=renamed(made.evaluators),
        final={**renamed(made.final), **({"test": test} if at_end else {})},
        best=made.best and re.sub("^test/", "validation/", made.best),
    )


def initialize(**models: tuple[Any, ...]) -> Callable[[Key], tuple[Params, Vars]]:
    """The `init` of linen modules, compiled: `initialize(model=(VAE(...), example_input))`.

    Args:
      **models: the models, by name: a module and the arguments of its call; a module that draws gets a "sample" key.

    Returns:
      `init(key) -> (params, vars)`, where `vars[name]` holds a module's other collections (`batch_stats` ...).
    """

    @jax.jit
    def init(key: Key) -> tuple[Params, Vars]:
        params, vars = {}, {}
        for i, (name, (module, *inputs)) in enumerate(models.items()):
            own, noise = jax.random.split(jax.random.fold_in(key, i))
            collections = module.init({"params": own, "sample": noise}, *inputs)
            params[name] = collections.pop("params")
            if collections:
                vars[name] = collections
        return params, vars

    return init
