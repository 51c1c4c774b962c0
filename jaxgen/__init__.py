"""jaxgen: generative and representation models in JAX, as pure functions.

The names here are the ones that an experiment and a notebook need; `jaxgen/README.md` shows the house.
"""

from jaxgen.alarms import Alarm
from jaxgen.best import Largest
from jaxgen.commands.command_line import run_experiment
from jaxgen.errors import NotFiniteError, UserError
from jaxgen.evaluate import Evaluator, Measure, joined, loss_of, mean_over, sum_over
from jaxgen.experiment import Experiment, recorded
from jaxgen.game import Aux, Player, TrainState, averaged, create_state, make_train_step
from jaxgen.network import FrozenNetwork, Network, begin_with, initialize
from jaxgen.pictures import Picture
from jaxgen.reduction import Weighted, penalised, weighted_mean
from jaxgen.runs.load import load
from jaxgen.runs.parents import frozen, load_params
from jaxgen.runs.run import Run
from jaxgen.samples.conditions import Conditions, given
from jaxgen.training.loop import fit
from jaxgen.version import __version__

__all__ = [
    "Alarm",
    "Aux",
    "Conditions",
    "Evaluator",
    "Experiment",
    "FrozenNetwork",
    "Largest",
    "Measure",
    "Network",
    "NotFiniteError",
    "Picture",
    "Player",
    "Run",
    "TrainState",
    "UserError",
    "Weighted",
    "__version__",
    "averaged",
    "begin_with",
    "create_state",
    "fit",
    "frozen",
    "given",
    "initialize",
    "joined",
    "load",
    "load_params",
    "loss_of",
    "make_train_step",
    "mean_over",
    "penalised",
    "recorded",
    "run_experiment",
    "sum_over",
    "weighted_mean",
]
