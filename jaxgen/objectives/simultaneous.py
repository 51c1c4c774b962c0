"""Players that move at once, as one player."""

from collections.abc import Mapping
from types import MappingProxyType

from jax import lax

from jaxgen.game import Aux, LossFn, TrainState
from jaxgen.reduction import Values, Weighted
from jaxgen.types import Array, Batch, Key, Params


def simultaneous(
    losses: Mapping[str, LossFn], *, owns: Mapping[str, tuple[str, ...]] = MappingProxyType({}), name: str | None = "game"
) -> LossFn:
    r"""The losses of players that move at once, as the loss of one player who has all of their parameters.

    $L(\theta) = \sum_i L_i(\theta_i, \bar\theta_{-i})$, where the bar holds the others' parameters constant. So the gradient in
    $\theta_i$ is that of $L_i$ alone, at the parameters from before the step. Players that move in turn see each other's last
    move instead (`jaxgen.make_train_step`; Goodfellow et al. 2014, algorithm 1). All losses get the same key: those that draw
    the same way get the same draws.

    Each part of the parameters keeps its own optimizer by
    `optax.multi_transform({"a": tx_a, "b": tx_b}, {"a": "a", "b": "b"})`.

    Args:
      losses: the losses by the players' names, each for the part of the parameters that has the player's name. Losses that
        return variables, such as batch statistics, or weights of examples are not taken.
      owns: the parts of players that have several, or one of another name, as those of `Player.owns`.
      name: the joint player's name, whose `params[name]` has one entry for each part. None where the parts are networks, which
        the joint player owns (`Player.owns`).

    Returns:
      A loss, whose values are the sums of the players' values. Its metrics are the players' losses and metrics, by
      `player/metric`.

    Raises:
      ValueError: when the loss is called, if a player's loss returns variables or weights.

    Source: the code of Goodfellow et al. 2014, whose `get_gradients` takes both players' gradients at once.

    >>> import jax, jax.numpy as jnp, optax
    >>> from jaxgen.game import Player, create_state, make_train_step
    >>> product = lambda params, state, batch, key, *, train: (params["x"] * params["y"] * batch["one"], Aux())
    >>> against = lambda params, state, batch, key, *, train: (-params["x"] * params["y"] * batch["one"], Aux())
    >>> players = {"game": Player(simultaneous({"x": product, "y": against}), optax.sgd(1.0))}
    >>> start = {"game": {"x": jnp.asarray(2.0), "y": jnp.asarray(3.0)}}
    >>> state, _ = make_train_step(players)(create_state(jax.random.key(0), start, {}, players), {"one": jnp.ones(1)})
    >>> {name: p.item() for name, p in state.params["game"].items()}  # 2 - 3 and 3 + 2
    {'x': -1.0, 'y': 5.0}
    """

    def loss(params: Params, state: TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, Aux]:
        networks = {player: owns.get(player, (player,)) for player in losses}
        own = {part: params[part] for parts in networks.values() for part in parts} if name is None else params[name]
        held = lax.stop_gradient(own)
        metrics: dict[str, Values] = {}
        parts = []
        for player, part in losses.items():
            moved = {network: own[network] for network in networks[player]}
            values, aux = part({**params, **held, **moved}, state, batch, key, train=train)
            if aux.vars:
                raise ValueError(f"players that move at once have no variables; {player!r} returned {sorted(aux.vars)}")
            if isinstance(values, Weighted):
                raise ValueError(f"players that move at once have no weights of examples; {player!r} returned some")
            metrics |= {f"{player}/{metric}": value for metric, value in {"loss": values, **aux.metrics}.items()}
            parts.append(values)
        return sum(parts[1:], parts[0]), Aux(metrics=metrics)

    return loss
