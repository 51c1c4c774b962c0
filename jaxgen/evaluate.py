"""Evaluators: functions of a state that yield named values, exact over a whole split."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxgen import keys
from jaxgen.data import Source, Transform, apply_transform, identity, in_order, prefetch
from jaxgen.game import Player, TrainState
from jaxgen.logs import Track
from jaxgen.parallel import beside
from jaxgen.reduction import Moments, moments, together
from jaxgen.types import Array, Batch, Key
from jaxgen.uncertainty import named
from jaxgen.waiting import wait

Evaluator = Callable[[TrainState, Key, Track], Mapping[str, float]]
"""`evaluator(state, key, track) -> {name: value}`; the state has the averages in place of the parameters.

The standard error of a value `name` is called `name_stderr` (`jaxgen.uncertainty`)."""

Measure = Callable[[TrainState, Batch, Key], Mapping[str, Array]]
"""`measure(state, batch, key) -> {name: [B]}`."""


LARGEST = 2**20
"""Samples of a call at most. A signal is heard between calls, so that a call must end within seconds."""


def mean_over(
    source: Source, measure: Measure, *, batch_size: int, transform: Transform = identity, samples: int = 1
) -> Evaluator:
    r"""The mean of per-example values over a whole split, $\frac 1 N \sum_n m(x_n)$, and its standard error $s / \sqrt N$.

    The padding of the last batch is masked. A random transform draws by example. So does a measure that draws with the keys
    of the examples, `keys.per_example(key, batch)`, as all objectives do; then no value depends on `batch_size`. What a measure
    draws with `key` itself, as by `jax.random.normal(key, x.shape)`, is drawn for a batch, and depends on its size.

    Args:
      source: the split.
      measure: per-example values by name, `[B]`, or scalars of a batch.
      batch_size: examples at once.
      transform: a function that is applied to every example on the device.
      samples: the number of samples that the measure draws of each example; of many, fewer examples are taken at once.

    Returns:
      An evaluator. The standard error of the value `nll` is called `nll_stderr`; it is over the examples, and the noise that
      belongs to them is part of it. Scalars of a batch have none.
    """
    batch_size = max(1, min(batch_size, LARGEST // samples))

    @jax.jit
    def partial(state: TrainState, batch: Batch, key: Key) -> dict[str, Moments]:
        index, mask = batch["index"], batch["mask"]
        example = {feature: x for feature, x in batch.items() if feature != "mask"}
        ready = apply_transform(transform, example, jax.random.fold_in(key, keys.TRANSFORM), index)
        noise = jax.random.fold_in(key, keys.NOISE)
        ready = keys.by_example(noise, {**ready, "mask": mask, "slot": index})
        values = measure(state, ready, jax.random.fold_in(noise, index[0]))
        return {name: moments(v, mask) for name, v in values.items()}

    def evaluator(state: TrainState, key: Key, track: Track) -> Mapping[str, float]:
        batches = -(-source.length // batch_size)
        total: dict[str, Moments] = {}

        def add(own: dict[str, Moments]) -> None:
            for name, part in jax.device_get(own).items():
                total[name] = together(total[name], part) if name in total else part

        before: dict[str, Moments] = {}
        reader = prefetch(lambda batch: batch, in_order(source, batch_size))
        for batch in track(reader, description="evaluating", total=batches):
            own = partial(state, beside(state, batch), key)
            # One batch runs while the next is read: the bar shows what is done, and a signal is heard.
            add(wait(before))
            before = own
        add(wait(before))
        return named({name: (float(found.mean), found.stderr) for name, found in total.items()})

    return evaluator


def loss_of(player: Player) -> Measure:
    """What a player is trained on, measured with `train=False`: its loss and its metrics, example by example."""

    def measure(state: TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        values, aux = player.loss(state.params, state, batch, key, train=False)
        return {"loss": jnp.asarray(values), **aux.metrics}

    return measure
