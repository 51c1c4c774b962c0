"""An experiment: the data, the players and what to look at, as one value; and the record of the flags that made it."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxgen import experiments
from jaxgen.data import Opened, Stream, reading
from jaxgen.evaluate import Evaluator
from jaxgen.flags import held
from jaxgen.game import Player, TrainState
from jaxgen.pictures import Picture
from jaxgen.types import Array, Key, Params, Schedule, Vars


class Config(NamedTuple):
    """How an experiment was made: which function, with which flags, and which data it opened.

    Fields:
      function: that made it.
      flags: its arguments.
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
        return {flag: value for flag, value in self.flags.items() if value != defaults.get(flag, value)}

    @property
    def file(self) -> str:
        """Where the function is written."""
        return str(Path(inspect.getfile(inspect.unwrap(self.function))).resolve())


class Experiment(NamedTuple):
    """What `fit` runs.

    Fields:
      train: the stream of training batches.
      init: `init(key) -> (params, vars)`, by player or frozen part; it may load from another run's checkpoint.
      players: the players, in the order of their turns.
      steps: how many steps to train.
      evaluators: run every `evaluate_every` steps; the name is the split they report on.
      final: run when training is through, and by `jaxgen evaluate`: what is too slow to do more often.
      pictures: drawn at every evaluation, `(state, key) -> Picture`.
      sample: `(state, key, n) -> images [n, H, W, C]` in [0, 1], or points `[n, D]`; pure, so that it can be traced. None where
        a model generates nothing.
      classes: of labelled samples, of which the i-th of a draw is of class i modulo this; None if they have no labels.
      ema: decay of the averages of parameters and variables that are evaluated and sampled from, as in `make_train_step`: a
        number is the decay of a debiased average, a schedule is taken as it is, and None keeps no averages.
      accumulate: micro-batches in a batch.
      schedules: logged by name, and compared when a run goes on with more steps.
      best: the evaluated value, `split/name`, whose minimum marks the best checkpoint. It must mean the same at every step: a
        function of what is sampled from or measured, and not of the step, of a weight that changes in training, of a
        multiplier or of an opponent. None where no evaluated value is such.
      protocol: the evaluated values that are figures to compare, each with every flag that moves it while the parameters stay
        the same: `{"nll": ("binarization", "nll_samples")}`. Flags of the network's function, such as its activation, belong to
        the model, whose figure it is.
      config: filled in by `recorded`.
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
    protocol: Mapping[str, tuple[str, ...]] = {}
    config: Config | None = None

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

    Args:
      function: returns an `Experiment`; its arguments are numbers, strings, booleans, None or tuples of these.

    Returns:
      The function, whose experiments have a `config`. It raises a `UserError` for a flag that it does not have, or of another
      type or range than is declared.
    """
    signature, make = inspect.signature(function), held(function)

    @functools.wraps(function)
    def build(*args: Any, **flags: Any) -> Experiment:
        with reading() as opened:
            made = make(*args, **flags)
        bound = signature.bind(*args, **flags)
        bound.apply_defaults()
        return made._replace(config=Config(build, dict(bound.arguments), tuple(opened)))

    return build


def initialize(**models: tuple[Any, ...]) -> Callable[[Key], tuple[Params, Vars]]:
    """The `init` of linen modules, compiled: `initialize(model=(VAE(...), example_input))`.

    Args:
      **models: by name, a module and the arguments of its call; a module that draws gets a "sample" key.

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
