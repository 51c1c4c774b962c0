"""The contract: players with losses and optimizers, and the one train step that serves them all.

An experiment is a game. A player owns a subtree of the parameters and descends its own loss; one player is an ELBO, a score
matching, contrastive or supervised objective, two are an adversarial one, and a Lagrange multiplier is a player too. Turns are
folded in order, each seeing what the turns before it left (the alternating updates of Goodfellow et al. 2014, Algorithm 1).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxgen import keys
from jaxgen.devices import collectives
from jaxgen.game import averages, merging
from jaxgen.game.averages import Averages, Decays
from jaxgen.reduction import Mean, Metrics, Weighted, merge, reduce
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
      owns: the names of its networks; none means the one of the player's own name. A network has one owner.
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
      ValueError: if a player has no parameters, shares a network with another, or merges a variable that there is not; or if a
        decay is not in [0, 1).
    """
    owner: dict[str, str] = {}
    for name, player in players.items():
        merging.check_names(vars, name, player.merge)
        for network in player.owns or (name,):
            if network not in params:
                own = "" if network == name else f" of its own network {network!r}"
                raise ValueError(f"player {name!r} has no parameters{own}; init made {sorted(params)}")
            if network in owner:
                raise ValueError(
                    f"players {owner[network]!r} and {name!r} both own {network!r}; a network moves in the turn of one player"
                )
            owner[network] = name
    # Copies: the step takes its buffers over, so that none may be here twice or be somebody else's too.
    key, params, vars = jax.tree.map(jnp.copy, (key, dict(params), dict(vars)))
    opt = {name: player.tx.init(_owned(params, name, player)) for name, player in players.items()}
    kept = [averages.begun(networks, params, vars) for networks in _decays(players, ema)]
    first = kept[0] if kept else Averages({}, {})
    return TrainState(jnp.zeros((), jnp.int32), key, params, opt, vars, first.params, first.vars, tuple(kept[1:]))


def make_train_step(players: Mapping[str, Player], *, ema: Decays | None = None, accumulate: int = 1) -> TrainStep:
    r"""One step of the game: every player in turn descends its own loss in its own parameters.

    $\theta_i \leftarrow \theta_i + \mathrm{tx}_i(\nabla_{\theta_i} \bar L_i(\theta_1, \dots, \theta_n))$, with $\bar L$ the
    masked mean over the batch. Then the averages of the parameters move, and with them those of the variables.

    A number d as `ema` is the decay of a debiased average, in which the initial parameters have no part: after t steps it is
    $\bar\theta_t = \frac{1 - d}{1 - d^t} \sum_{i=1}^t d^{t - i} \theta_i$. A schedule is taken as it is, as the $d_t$ of
    $\bar\theta_{t+1} = d_t \bar\theta_t + (1 - d_t) \theta_{t+1}$, which starts from the initial parameters.

    The key of player i in step s is `fold_in(fold_in(state.key, s), i)`, and that of an example `fold_in` of it and the
    example's slot in the global batch (`keys.by_example`).

    Args:
      players: the players in the order of their turns.
      ema: the decay of the averages of each player that has none of its own (`Player.ema`), a number or a schedule of the step;
        several for several averages, of which `averaged` takes the first unless another is asked for. None keeps none.
      accumulate: number of micro-batches that a batch is cut into to save memory. Each player's gradient is still the one of
        the whole batch, padding included, and each player still moves once a step. What a loss computes *across* examples
        (batch statistics, negatives) sees one micro-batch at a time.

    Returns:
      A pure function `(state, batch) -> (state, metrics)`. With one player the metrics are `loss`, `grad_norm` and the
      loss's own; with more they are prefixed by the player's name.

    Raises:
      UserError: if there are micro-batches, and a player's variables have to be those of a whole batch (`merging.whole`).

    >>> model = Player(lambda p, state, batch, key, *, train: (p["model"] * batch["x"], Aux()), optax.sgd(0.5))
    >>> state = create_state(jax.random.key(0), {"model": jnp.array(1.0)}, {}, {"model": model})
    >>> state, metrics = make_train_step({"model": model})(state, {"x": jnp.array([1.0, 3.0])})
    >>> state.params["model"].item(), metrics["loss"].value.item()
    (0.0, 2.0)
    """
    # Kept in this closure, not passed through jit, which would sort the names: the order of the turns matters.
    players = dict(players)
    decays = _decays(players, ema)
    for name, player in players.items():
        merging.check_micro_batches(name, player.merge, accumulate)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        metrics: dict[str, Mean] = {}
        for i, (name, player) in enumerate(players.items()):
            prefix = f"{name}/" if len(players) > 1 else ""
            state, own = turn(state, name, player, batch, jax.random.fold_in(key, i), accumulate, metrics)
            metrics |= {prefix + metric: mean for metric, mean in own.items()}
        if decays:
            kept = (Averages(state.ema, state.ema_vars), *state.more_ema)
            first, *more = (
                averages.moved(*pair, state.params, state.vars, state.step) for pair in zip(kept, decays, strict=True)
            )
            state = state._replace(ema=first.params, ema_vars=first.vars, more_ema=tuple(more))
        return state._replace(step=state.step + 1), metrics

    return step


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


def moves(state: TrainState, player: Player, before: Metrics) -> Array | bool:
    """Whether a player moves in this step, of which `before` has the metrics of the turns that were before its own."""
    due: Array | bool = player.every == 1 or (state.step + 1) % player.every == 0
    if player.when is None:
        return due
    return jnp.logical_and(due, player.when(state, {name: mean.value for name, mean in before.items()}))


def turn(
    state: TrainState, name: str, player: Player, batch: Batch, key: Key, accumulate: int, before: Metrics
) -> tuple[TrainState, Metrics]:
    """One player's move, or nothing where it is not its turn: the state after it, and its metrics."""

    def move(state: TrainState) -> tuple[TrainState, Metrics]:
        grads, vars, metrics = gradient(state, name, player, batch, key, accumulate)
        grads, metrics = collectives.total((grads, metrics))
        vars = merging.over_replicas(state.vars, vars, player.merge)
        own = _owned(state.params, name, player)
        updates, opt = player.tx.update(grads, state.opt[name], own)
        params = _with(state.params, name, player, optax.apply_updates(own, updates))
        # Fused into the backward pass, the norm takes a fifth of a small network's step on a CPU.
        metrics = {**metrics, "grad_norm": reduce(optax.tree.norm(lax.optimization_barrier(grads)))}
        return state._replace(params=params, opt={**state.opt, name: opt}, vars={**state.vars, **vars}), metrics

    if player.every == 1 and player.when is None:
        return move(state)

    def skip(state: TrainState) -> tuple[TrainState, Metrics]:
        _, metrics = jax.eval_shape(move, state)
        return state, jax.tree.map(lambda m: jnp.zeros(m.shape, m.dtype), metrics)

    return lax.cond(moves(state, player, before), move, skip, state)


def gradient(
    state: TrainState, name: str, player: Player, batch: Batch, key: Key, accumulate: int
) -> tuple[PyTree, Vars, Metrics]:
    r"""The gradient of the batch's mean loss in the parameters of one player's networks, with new variables and metrics.

    Under `pmap` it is this replica's share, and so are the metrics: their sums over the replicas are those of the global batch.

    With weights the loss is $\sum_b w_b v_b / W$, where W is the weight of the whole batch. W is known after the last
    micro-batch only, but it is a constant of the gradient: $\nabla \sum_b w_b v_b$ is accumulated, and divided by W at the end.
    """

    def mean_loss(own: PyTree, vars: Vars, part: Batch, key: Key, share: Any) -> tuple[Array, tuple[Vars, Metrics, Any]]:
        here = state._replace(vars={**state.vars, **vars})
        values, aux = player.loss(_with(state.params, name, player, own), here, part, key, train=True)
        mask = part.get("mask")
        metrics = {metric: reduce(v, mask) for metric, v in {"loss": values, **aux.metrics}.items()}
        if isinstance(values, Weighted):
            return metrics["loss"].total, (dict(aux.vars), metrics, metrics["loss"].weight)
        return metrics["loss"].value * share, (dict(aux.vars), metrics, None)

    def whole(grads: PyTree, weight: Array | None) -> PyTree:
        if weight is None:
            return grads
        weight = collectives.total(weight)
        return jax.tree.map(lambda g: g / jnp.where(weight > 0, weight, 1), grads)

    # An example's key is the same on every replica and in every micro-batch; a batch's key is of this part of it alone.
    batch, key = keys.by_example(key, batch), collectives.own(key)
    grad = jax.grad(mean_loss, has_aux=True)
    own = _owned(state.params, name, player)
    mask = batch.get("mask")
    if accumulate == 1:
        share = 1 / collectives.count() if mask is None else mask.sum() / jnp.maximum(collectives.total(mask.sum()), 1)
        grads, (vars, metrics, weight) = grad(own, {}, batch, key, share)
        return whole(grads, weight), vars, metrics

    # Strided, not blocked, so that a batch sharded over devices is cut without moving any of it.
    parts = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0), dict(batch))
    even = jnp.full(accumulate, 1 / (accumulate * collectives.count()))
    shares = even if mask is None else parts["mask"].sum(1) / jnp.maximum(collectives.total(mask.sum()), 1)
    part_keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(accumulate))

    def micro(carry: Any, xs: Any) -> tuple[Any, None]:
        grads, vars, metrics = carry
        part, key, share = xs
        more, (vars, own_metrics, _) = grad(own, vars, part, key, share)
        return (jax.tree.map(jnp.add, grads, more), vars, merge(metrics, own_metrics)), None

    first = jax.tree.map(lambda x: x[0], (parts, part_keys, shares))
    shapes, (vars_shapes, metric_shapes, weight) = jax.eval_shape(grad, own, {}, *first)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (shapes, metric_shapes))
    start = (zeros[0], {k: state.vars[k] for k in vars_shapes}, zeros[1])
    (grads, vars, metrics), _ = lax.scan(micro, start, (parts, part_keys, shares))
    return whole(grads, None if weight is None else metrics["loss"].weight), vars, metrics


def _owned(params: Params, name: str, player: Player) -> PyTree:
    """The parameters that a player moves: of one network themselves, of several by name."""
    return {network: params[network] for network in player.owns} if player.owns else params[name]


def _with(params: Params, name: str, player: Player, own: PyTree) -> Params:
    """All parameters, with a player's own in their places."""
    return {**params, **(own if player.owns else {name: own})}


def _decays(players: Mapping[str, Player], ema: Decays | None) -> list[dict[str, averages.Decay]]:
    """The decays of all averages by network: a player's own, or those of the experiment."""
    own = {name: ema if player.ema is None else player.ema for name, player in players.items()}
    return averages.places({network: own[name] for name, player in players.items() for network in player.owns or (name,)})
