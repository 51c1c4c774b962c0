"""Evaluators: functions of a state that yield named values, exact over a whole split."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import keys
from jaxgen.data import Source, Transform, apply_transform, identity, in_order, prefetch
from jaxgen.devices.parallel import on_devices_of
from jaxgen.devices.waiting import wait
from jaxgen.game import Player, TrainState
from jaxgen.progress import Track
from jaxgen.reduction import Moments, Weighted, WeightedMoments, moments, together
from jaxgen.types import Array, Batch, Key
from jaxgen.uncertainty import named

T = TypeVar("T")

Evaluator = Callable[[TrainState, Key, Track], Mapping[str, float]]
"""`evaluator(state, key, track) -> {name: value}`; the state has the averages in place of the parameters.

The standard error of a value `name` is called `name_stderr` (`jaxgen.uncertainty`)."""

Measure = Callable[[TrainState, Batch, Key], Mapping[str, Any]]
"""`measure(state, batch, key) -> {name: [B]}`, with weights (`Weighted`) or without."""


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
      measure: per-example values by name, `[B]`, or scalars of a batch; with weights or without.
      batch_size: examples at once.
      transform: a function that is applied to every example on the device.
      samples: the number of samples that the measure draws of each example; of many, fewer examples are taken at once.

    Returns:
      An evaluator. The standard error of the value `nll` is called `nll_stderr`; it is over the examples, and the noise that
      belongs to them is part of it. Scalars of a batch have none. The mean of weighted values is
      $\sum_n w_n v_n / \sum_n w_n$ over the split; its standard error is that of a ratio by the delta method, which is right
      for many examples. Where all weights of the split are zero, the value is left out.
    """
    batch_size = max(1, min(batch_size, LARGEST // samples))
    found_over: Callable[..., dict[str, Moments | WeightedMoments]] = _over(
        source, measure, moments, together, batch_size, transform
    )

    def evaluator(state: TrainState, key: Key, track: Track) -> Mapping[str, float]:
        every = found_over(state, key, track)
        known = {name: m for name, m in every.items() if not (isinstance(m, WeightedMoments) and m.weight == 0)}
        return named({name: (float(found.mean), found.stderr) for name, found in known.items()})

    return evaluator


def sum_over(
    source: Source, measure: Measure, *, batch_size: int, transform: Transform = identity
) -> Callable[[TrainState, Key, Track], dict[str, np.ndarray]]:
    """The sums of per-example arrays over a whole split, such as how often each code is chosen, for an evaluator to read.

    The padding of the last batch is masked, and draws are as in `mean_over`.

    Args:
      source: the split.
      measure: per-example arrays by name, `[B, ...]`.
      batch_size: examples at once, whose sum is in float32; the sums of the batches are added in float64.
      transform: a function that is applied to every example on the device.

    Returns:
      A function `(state, key, track) -> {name: [...]}`, the sums in float64 on the host.
    """
    return _over(source, measure, _masked_sum, np.add, batch_size, transform)


def joined(*evaluators: Evaluator) -> Evaluator:
    """One evaluator that gives the values of all, which run one after another."""

    def evaluate(state: TrainState, key: Key, track: Track) -> Mapping[str, float]:
        return {name: value for evaluator in evaluators for name, value in evaluator(state, key, track).items()}

    return evaluate


def _masked_sum(values: Array, mask: Array) -> Array:
    real = mask.astype(bool).reshape(-1, *[1] * (values.ndim - 1))
    return jnp.where(real, values, 0).astype(jnp.float32).sum(0)


def _over(
    source: Source,
    measure: Measure,
    reduce: Callable[[Any, Array], Any],
    merge: Callable[[Any, Any], Any],
    batch_size: int,
    transform: Transform,
) -> Callable[[TrainState, Key, Track], dict[str, T]]:
    """A measure over a whole split: reduced with the mask batch by batch on the device, then merged on the host."""

    @jax.jit
    def partial(state: TrainState, batch: Batch, key: Key) -> dict[str, T]:
        index, mask = batch["index"], batch["mask"]
        example = {feature: x for feature, x in batch.items() if feature != "mask"}
        ready = apply_transform(transform, example, jax.random.fold_in(key, keys.TRANSFORM), index)
        noise = jax.random.fold_in(key, keys.NOISE)
        ready = keys.by_example(noise, {**ready, "mask": mask, "slot": index})
        values = measure(state, ready, jax.random.fold_in(noise, index[0]))
        return {name: reduce(v, mask) for name, v in values.items()}

    def over(state: TrainState, key: Key, track: Track) -> dict[str, T]:
        batches = -(-source.length // batch_size)
        total: dict[str, T] = {}

        def add(own: dict[str, T]) -> None:
            for name, part in jax.tree.map(np.float64, jax.device_get(own)).items():
                total[name] = merge(total[name], part) if name in total else part

        before: dict[str, T] = {}
        reader = prefetch(lambda batch: batch, in_order(source, batch_size))
        for batch in track(reader, description="evaluating", total=batches):
            own = partial(state, on_devices_of(state, batch), key)
            # One batch runs while the next is read: the bar shows what is done, and a signal is heard.
            add(wait(before))
            before = own
        add(wait(before))
        return total

    return over


def loss_of(player: Player, name: str = "loss") -> Measure:
    """The measure of a player's loss and metrics with `train=False`, example by example.

    Args:
      player: the player.
      name: the name that its loss is reported under; of a game of several, one that says whose loss it is.

    Returns:
      A measure for `mean_over`.
    """

    def measure(state: TrainState, batch: Batch, key: Key) -> Mapping[str, Any]:
        values, aux = player.loss(state.params, state, batch, key, train=False)
        return {name: values if isinstance(values, Weighted) else jnp.asarray(values), **aux.metrics}

    return measure
