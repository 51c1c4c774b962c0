"""The game: players with losses and optimizers, the training state, and the one step that trains them all."""

from jaxgen.game.step import (
    Aux,
    LossFn,
    Player,
    TrainState,
    TrainStep,
    averaged,
    create_state,
    gradient,
    make_train_step,
    moves,
    turn,
    with_average,
    with_averaged_variables,
)

__all__ = [
    "Aux",
    "LossFn",
    "Player",
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
