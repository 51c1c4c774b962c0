"""Evaluators: functions of a state that yield named values, exact over a whole split."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxgen.data import Source, Transform, apply_transform, identity, in_order, prefetch
from jaxgen.game import Player, TrainState
from jaxgen.logs import Track
from jaxgen.parallel import beside
from jaxgen.reduction import Metrics, compute, merge, reduce
from jaxgen.types import Array, Batch, Key
from jaxgen.waiting import wait

Evaluator = Callable[[TrainState, Key, Track], Mapping[str, float]]
"""`evaluator(state, key, track) -> {name: value}`; the state has the averages in place of the parameters."""

Measure = Callable[[TrainState, Batch, Key], Mapping[str, Array]]
"""`measure(state, batch, key) -> {name: [B]}`."""


def mean_over(source: Source, measure: Measure, *, batch_size: int, transform: Transform = identity) -> Evaluator:
    r"""The mean of per-example values over a whole split, $\frac 1 N \sum_n m(x_n)$.

    The padding of the last batch is masked, and a random transform draws by example: the transformed data does not depend on
    `batch_size`.

    Args:
      source: the split.
      measure: per-example values by name.
      batch_size: examples at once.
      transform: applied to every example on the device.

    Returns:
      An evaluator.
    """

    @jax.jit
    def partial(state: TrainState, batch: Batch, key: Key) -> Metrics:
        index, mask = batch["index"], batch["mask"]
        example = {feature: x for feature, x in batch.items() if feature != "mask"}
        ready = {**apply_transform(transform, example, jax.random.fold_in(key, 0), index), "mask": mask}
        values = measure(state, ready, jax.random.fold_in(jax.random.fold_in(key, 1), index[0]))
        return {name: reduce(v, mask) for name, v in values.items()}

    add = jax.jit(merge)

    def evaluator(state: TrainState, key: Key, track: Track) -> Mapping[str, float]:
        batches = -(-source.length // batch_size)
        total: Metrics | None = None
        reader = prefetch(lambda batch: batch, in_order(source, batch_size))
        for batch in track(reader, description="evaluating", total=batches):
            # The next batch is read meanwhile. A device that is given more to do may not return before it is through with
            # what it has, and no signal would be heard.
            own = wait(partial(state, beside(state, batch), key))
            total = own if total is None else add(total, own)
        return compute(wait(total) or {})

    return evaluator


def loss_of(player: Player) -> Measure:
    """What a player is trained on, measured with `train=False`: its loss and its metrics, example by example."""

    def measure(state: TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values, aux = player.loss(state.params, state, batch, key, train=False)
        return {"loss": jnp.asarray(values), **aux.metrics}

    return measure
