"""The one training step that serves every game.

Turns are folded in the order of the players, each seeing what the turns before it left (the alternating updates of Goodfellow
et al. 2014, Algorithm 1).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxgen import keys
from jaxgen.devices import collectives
from jaxgen.game import averages, merging
from jaxgen.game.averages import Averages, Decays
from jaxgen.game.contract import Player, TrainState, TrainStep
from jaxgen.game.state import decays_of, owned
from jaxgen.reduction import Mean, Metrics, Weighted, merge, reduce
from jaxgen.types import Array, Batch, Key, Params, PyTree, Vars


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

    >>> from jaxgen.game.contract import Aux
    >>> model = Player(lambda p, state, batch, key, *, train: (p["model"] * batch["x"], Aux()), optax.sgd(0.5))
    >>> from jaxgen.game.state import create_state
    >>> state = create_state(jax.random.key(0), {"model": jnp.array(1.0)}, {}, {"model": model})
    >>> state, metrics = make_train_step({"model": model})(state, {"x": jnp.array([1.0, 3.0])})
    >>> state.params["model"].item(), metrics["loss"].value.item()
    (0.0, 2.0)
    """
    # Kept in this closure, not passed through jit, which would sort the names: the order of the turns matters.
    players = dict(players)
    decays = decays_of(players, ema)
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
        own = owned(state.params, name, player)
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
    own = owned(state.params, name, player)
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


def _with(params: Params, name: str, player: Player, own: PyTree) -> Params:
    """All parameters, with a player's own in their places."""
    return {**params, **(own if player.owns else {name: own})}
