"""The game: players with losses and optimizers, the state that they train, and the one step that trains them all."""

from jaxgen.game.contract import Aux, LossFn, Player, TrainState, TrainStep
from jaxgen.game.power_averages import PowerFunction
from jaxgen.game.state import averaged, create_state, with_average, with_averaged_variables
from jaxgen.game.step import gradient, make_train_step, moves, turn

__all__ = [
    "Aux",
    "LossFn",
    "Player",
    "PowerFunction",
    "TrainState",
    "TrainStep",
    "averaged",
    "create_state",
    "gradient",
    "make_train_step",
    "moves",
    "turn",
    "with_average",
    "with_averaged_variables",
]
