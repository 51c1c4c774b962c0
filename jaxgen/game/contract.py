"""The contract: what a player is, what its loss returns, and the state that all players share.

An experiment is a game. A player owns a subtree of the parameters and descends its own loss; one player is an ELBO, a score
matching, contrastive or supervised objective, two are an adversarial one, and a Lagrange multiplier is a player too.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import optax

from jaxgen.game import merging
from jaxgen.game.averages import Averages, Decays
from jaxgen.reduction import Metrics
from jaxgen.types import Array, Batch, Key, Params, PyTree, Vars


class TrainState(NamedTuple):
    """Everything that a step reads and writes, arrays only: a checkpoint is this and the position of the data.

    Fields:
      step: the number of steps that were taken.
      key: the run's key.
      params: parameters by name.
      opt: states of the optimizers by player.
      vars: variables by name.
      ema: averages of the players' parameters; empty where none are kept.
      ema_vars: averages of the players' variables, with the same decay: running batch statistics belong to the weights that
        they were taken from. Empty where none are kept.
      more_ema: further averages of the same, of the second decay, the third, and so on; empty where there is one at most.
    """

    step: Array
    key: Key
    params: Params
    opt: Mapping[str, PyTree]
    vars: Vars
    ema: Params
    ema_vars: Mapping[str, PyTree] = {}
    more_ema: tuple[Averages, ...] = ()


class Aux(NamedTuple):
    """The second result of a loss: updates of `TrainState.vars`, and metrics by name, of the same forms as a loss."""

    vars: Vars = MappingProxyType({})
    metrics: Mapping[str, Any] = MappingProxyType({})


@runtime_checkable
class LossFn(Protocol):
    """`loss(params, state, batch, key, *, train) -> (values [B], Aux)`.

    `params` has every player's parameters and is what the gradient sees; `state` gives the step, the variables and the
    averages. The same function serves training and evaluation. Values are reduced, with the batch's mask, by the caller.
    Examples that do not all count alike are `Weighted(values, weights)`; a loss of the parameters alone may be a scalar.

    What is drawn with `key`, as by `jax.random.normal(key, x.shape)`, is drawn for the batch: it is other noise in batches of
    another size, in micro-batches and under `pmap`. The noise of a loss that draws with the keys of the examples,
    `keys.draw(jax.random.normal, keys.per_example(key, batch), x.shape)`, is the same in all of these.
    """

    def __call__(self, params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Any, Aux]: ...


class Player(NamedTuple):
    """A loss, the optimizer that descends it, the networks that move, and when.

    Fields:
      loss: the loss.
      tx: the optimizer. Of several networks it sees all gradients at once, so that a bound on their norm is one on all.
      every: the interval of the player's turns, in steps: it moves in step `every`, 2 `every`, and so on.
      owns: the names of its networks; none means the one of the player's own name. A network has one owner, or
        several of which each says by `when` in which steps it moves it, as in pretraining and fine-tuning; each has its own
        optimizer.
      when: whether it moves, `when(state, metrics) -> bool`, of the state before its turn and the values of the turns before it
        in this step, by the names that the step reports them under: `metrics["discriminator/accuracy"] > 0.6`. A turn that did
        not take place counts as 0. None means always. Where it does not move, parameters, optimizer and variables stay as they
        are, and its metrics have no value for this step. Source: Tzeng et al. 2017 (ADDA); Hoffman et al. 2018 (CyCADA).
      ema: the decays of the averages of its networks. None means those of the experiment, and `()` keeps none: nobody samples
        from a discriminator or a multiplier.
      merge: rules by which replicas and micro-batches merge the variables that its loss returns, by the name of a variable or
        of a network's collection: `{"codebook": merging.same, "pool": merging.whole}`. Others are averaged over the replicas.
    """

    loss: LossFn
    tx: optax.GradientTransformation
    every: int = 1
    owns: tuple[str, ...] = ()
    when: Callable[[TrainState, Mapping[str, Array]], Array] | None = None
    ema: Decays | None = None
    merge: Mapping[str, merging.Merge] = MappingProxyType({})


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
"""`step(state, batch) -> (state, metrics)`, one step of a game."""
