"""The state of a game: how it begins, and which of its averages is evaluated and sampled from."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxgen.game import averages, merging
from jaxgen.game.averages import Averages, Decays
from jaxgen.game.contract import Player, TrainState
from jaxgen.types import Key, Params, PyTree, Vars


def create_state(
    key: Key, params: Params, vars: Vars, players: Mapping[str, Player], *, ema: Decays | None = None
) -> TrainState:
    """The state before the first step.

    Args:
      key: the run's key; step s draws from `fold_in(key, s)`, so nothing else about randomness has to be saved.
      params: parameters by name. Names that are no player's are frozen.
      vars: variables by name.
      players: the players in the order of their turns.
      ema: decay of the averages, as in `make_train_step`; None keeps none but those of players that say so.

    Returns:
      The state, with step 0.

    Raises:
      ValueError: if a player has no parameters, or merges a variable that there is not; if two players share a network without
        saying by `when` in which steps it is whose, or average it differently; or if a decay is not in [0, 1).
    """
    owner: dict[str, str] = {}
    for name, player in players.items():
        merging.check_names(vars, name, player.merge)
        for network in player.owns or (name,):
            if network not in params:
                own = "" if network == name else f" of its own network {network!r}"
                raise ValueError(f"player {name!r} has no parameters{own}; init made {sorted(params)}")
            other = players[owner.setdefault(network, name)]
            both = f"players {owner[network]!r} and {name!r} both own {network!r}"
            if other is not player and (other.when is None or player.when is None):
                raise ValueError(
                    f"{both}; a network moves in the turn of one player, unless each says by `when` in which steps"
                )
            if other.ema != player.ema:
                raise ValueError(f"{both}, whose averages they keep with different decays; give both the same `ema`")
    # Copies: the step takes its buffers over, so that none may be here twice or be somebody else's too.
    key, params, vars = jax.tree.map(jnp.copy, (key, dict(params), dict(vars)))
    opt = {name: player.tx.init(owned(params, name, player)) for name, player in players.items()}
    kept = [averages.begun(networks, params, vars) for networks in decays_of(players, ema)]
    first = kept[0] if kept else Averages({}, {})
    return TrainState(jnp.zeros((), jnp.int32), key, params, opt, vars, first.params, first.vars, tuple(kept[1:]))


def averaged(state: TrainState, which: int = 0) -> TrainState:
    """The state with the averages in place of the parameters and variables they average: what is evaluated and sampled from.

    Averaged weights need batch statistics of their own: the running statistics of the weights of the last steps are those of
    another network. Exact ones would be recomputed with the averaged weights on training data. Averages of the statistics need
    no data and no further passes, and serve as well where the weights of the averaged steps are alike. A state without averages
    of variables, as versions before they were kept have written it, is taken with its current variables.

    Args:
      state: the state.
      which: the place of the average among several decays, as in `with_average`.
    """
    state = with_average(state, which)
    return state._replace(params={**state.params, **state.ema}, vars={**state.vars, **state.ema_vars})


def with_average(state: TrainState, which: int) -> TrainState:
    """The state with another of several averages as the one that is evaluated and sampled from.

    Args:
      state: the state.
      which: the place of the average's decay among those that were given, from 0. A player with fewer decays keeps its first.

    Raises:
      ValueError: if the state has fewer averages.
    """
    if which == 0:
        return state
    if not 0 < which <= len(state.more_ema):
        there = len(state.more_ema) + bool(state.ema)
        raise ValueError(f"the average {which} is asked for, counted from 0, and the state has {there}")
    params, vars = state.more_ema[which - 1]
    return state._replace(ema={**state.ema, **params}, ema_vars={**state.ema_vars, **vars})


def with_averaged_variables(state: TrainState) -> TrainState:
    """The state; if it has averages of parameters alone, those of the variables begin at the current variables."""
    if state.ema_vars or not state.ema:
        return state
    return state._replace(ema_vars=jax.tree.map(jnp.copy, averages.of(state.ema, state.vars)))


def owned(params: Params, name: str, player: Player) -> PyTree:
    """The parameters that a player moves: of one network themselves, of several by name."""
    return {network: params[network] for network in player.owns} if player.owns else params[name]


def decays_of(players: Mapping[str, Player], ema: Decays | None) -> list[dict[str, averages.Decay]]:
    """The decays of all averages by network: a player's own, or those of the experiment."""
    own = {name: ema if player.ema is None else player.ema for name, player in players.items()}
    return averages.places({network: own[name] for name, player in players.items() for network in player.owns or (name,)})
