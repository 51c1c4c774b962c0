"""The compiled program of a training: several steps in one call, while the next batches are read."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen.data import Stream, prefetch
from jaxgen.devices import parallel
from jaxgen.devices.hosts import shard
from jaxgen.devices.parallel import Parallel
from jaxgen.experiment import Experiment
from jaxgen.game import TrainState, TrainStep, make_train_step
from jaxgen.keys import DATA
from jaxgen.reduction import Mean, Metrics, merge, reduce
from jaxgen.traces import programs
from jaxgen.types import Array, Batch, PyTree

BYTES, STEPS = 8 << 20, 20

Advance = Callable[..., tuple[TrainState, Metrics, Array]]
"""`advance(state, window, batches, n, first=0)`, as `make_advance` says."""

MOST = 1 << 29
"""Bytes that the batches of one call may take."""

CALL = 1.0
"""Seconds that a call may take, if it is of more than one step: a signal is heard between two calls."""


class Program(NamedTuple):
    """The compiled steps of a run.

    Fields:
      advance: the compiled function, as `make_advance` says.
      state: shapes and dtypes of the state.
      window: shapes and dtypes of the metrics since the last log.
      chunk: the most steps of a call, whose batches it takes.
    """

    advance: Advance
    state: TrainState
    window: Metrics
    chunk: int


def compiled(
    experiment: Experiment, state: TrainState, way: Parallel, *, skip_not_finite: bool, steps_per_call: int | None
) -> Program:
    """Compiles the steps of an experiment; XLA does its part of that in the first call.

    Args:
      experiment: the experiment.
      state: shapes and dtypes of its state.
      way: the way to run.
      skip_not_finite: whether a step that makes something not finite is skipped.
      steps_per_call: the number of steps of a call; None chooses it.

    Raises:
      UserError: if a batch cannot be cut into equal parts.
    """
    step = step_of(experiment)
    if skip_not_finite:
        step = skipping(step)
    batch = batch_spec(experiment.train)
    sizes = sorted({x.shape[0] for x in jax.tree.leaves(batch)})
    parallel.check(sizes, devices=way.devices, accumulate=experiment.accumulate)
    window, several = trace(step, state, batch)
    chunk = steps_that_fit(batch, steps_per_call) if steps_per_call else several
    return Program(way.compile(make_advance(step, chunk), state, window), state, window, chunk)


def step_of(experiment: Experiment) -> TrainStep:
    """The training step of an experiment on raw batches."""
    train = make_train_step(experiment.players, ema=experiment.ema, accumulate=experiment.accumulate)
    return with_data(with_frozen(train, experiment.frozen), experiment.train)


def with_data(step: TrainStep, stream: Stream) -> TrainStep:
    """The step on raw batches: the stream's transform and the train step in one function. It has skipped none."""

    def whole(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), DATA)
        state, metrics = step(state, stream.transform(batch, key))
        return state, {**metrics, "skipped": Mean(jnp.zeros(()), jnp.zeros(()))}

    return whole


def with_frozen(step: TrainStep, frozen: Collection[str]) -> TrainStep:
    """The step; the variables of frozen parts keep every bit, although losses return them and replicas average them."""
    if not frozen:
        return step

    def whole(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        new, metrics = step(state, batch)
        kept = {name: x for name, x in state.vars.items() if name in frozen}
        return new._replace(vars={**new.vars, **kept}), metrics

    return whole


def batch_spec(stream: Stream) -> PyTree:
    """Shapes and dtypes of one raw batch, as the device will hold it: without 64 bits, unless they are enabled."""
    on_device = jax.dtypes.canonicalize_dtype
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], on_device(x.dtype)), stream.read(0, seed=0))


def trace(step: TrainStep, state: PyTree, batch: PyTree) -> tuple[PyTree, int]:
    """Traces the step once, to know its metrics and how many steps to put into one call.

    Args:
      step: the step, `(state, raw batch) -> (state, metrics)`.
      state: shapes and dtypes of the state.
      batch: shapes and dtypes of a raw batch.

    Returns:
      The metrics' shapes, and a number of steps: as many as 8 MiB of batches hold, up to 20. It is one where a loop on a
      CPU would hold XLA's own gradient of a convolution in its kernel, which takes some 50 times as long there: that of
      `flax.linen.Conv` is such a one, that of `jaxgen.nn.Conv` is not.
    """
    traced, (_, metrics) = jax.make_jaxpr(step, return_shape=True)(state, batch)
    size = sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(batch))
    slow = jax.default_backend() == "cpu" and _slow_in_a_loop(traced)
    return dict(metrics), 1 if slow else max(1, min(STEPS, BYTES // max(size, 1)))


def skipping(step: TrainStep) -> TrainStep:
    """The step; where anything that it made is not finite only its number passes, and the metric `skipped` counts it."""

    def whole(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        new, metrics = step(state, batch)
        made = [x for x in jax.tree.leaves((new, metrics)) if jnp.issubdtype(x.dtype, jnp.inexact)]
        finite = jnp.stack([jnp.isfinite(x).all() for x in made]).all()
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        metrics = jax.tree.map(lambda m: jnp.where(finite, m, 0), dict(metrics))
        return kept._replace(step=new.step), {**metrics, "skipped": reduce(1 - finite.astype(jnp.float32))}

    return whole


def make_advance(step: TrainStep, chunk: int) -> Advance:
    """`advance(state, window, batches [chunk, ...], n, first=0)`: n steps, on n batches from number `first` on; to be compiled.

    The number of steps is an argument of one program and not a program each: k and then N - k steps are the very same
    arithmetic as N at once, so a resumed run equals an unbroken one bit for bit.

    Args:
      step: the step, `(state, raw batch) -> (state, metrics)`.
      chunk: the most steps of a call; 1 compiles the bare step, without a loop.

    Returns:
      A pure function that returns the state and the window, with a token that is ready when the call has ended.
    """

    def once(state: TrainState, window: Metrics, batch: Batch) -> tuple[TrainState, Metrics]:
        state, metrics = step(state, batch)
        return state, merge(window, dict(metrics))

    def advance(
        state: TrainState, window: Metrics, batches: Batch, n: Array, first: Array | int = 0
    ) -> tuple[TrainState, Metrics, Array]:
        if chunk == 1:
            state, window = once(state, window, jax.tree.map(lambda x: x[0], batches))
        else:

            def body(i: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
                return once(*carry, jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, i, keepdims=False), batches))

            state, window = lax.fori_loop(first, first + n, body, (state, window))
        return state, window, jnp.copy(state.step)

    return advance


def steps_that_fit(batch: PyTree, steps: int) -> int:
    """The number of steps in a call, of those asked for, whose batches memory can hold, 512 MiB of them; one at least.

    Args:
      batch: shapes and dtypes of a raw batch.
      steps: the number that a user gave.
    """
    size = sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(batch))
    return max(1, min(steps, MOST // max(size, 1)))


class Pace:
    """The number of steps of the next call, so that no call of several steps takes much longer than `CALL` seconds.

    The number of steps is an argument of the compiled program: how a run is cut into calls changes none of its bits.

    >>> pace = Pace(most=20)
    >>> for seconds in (0.1, 0.2, 0.4, 2.0): pace.took(seconds)
    >>> pace.steps
    4
    """

    def __init__(self, most: int) -> None:
        self.steps, self._most = 1, most

    def took(self, seconds: float) -> None:
        """Learns what a call of as many steps took."""
        if seconds > CALL:
            self.steps = max(1, self.steps // 2)
        elif seconds < CALL / 2:
            self.steps = min(2 * self.steps, self._most)


def plan(start: int, stop: int, chunk: int, every: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cuts the steps into calls that end where something is due: yields (first step, number of steps).

    >>> list(plan(0, 10, 4, [5]))
    [(0, 4), (4, 1), (5, 4), (9, 1)]
    """
    at = start
    while at < stop:
        due = min(*(at - at % e + e for e in every), stop)
        n = min(chunk, due - at)
        yield at, n
        at += n


def feed(
    stream: Stream, calls: Sequence[tuple[int, int]], *, seed: int, chunk: int, way: Parallel
) -> Iterator[tuple[Any, Array]]:
    """The batches of each call and its number of steps, on the devices one call ahead of the loop."""

    def read(call: tuple[int, int]) -> Any:
        # Always a whole chunk, of which a shorter call uses the first part: shapes stay as they were compiled.
        return stream.read(call[0], seed=seed, steps=chunk, shard=shard()), np.int32(call[1])

    for batches, n in prefetch(read, calls):
        yield way.feed(batches, n)


def _slow_in_a_loop(traced: Any) -> bool:
    """Whether a program holds a convolution that sums over a batch, as XLA's gradient in a kernel does."""
    equations = (equation for jaxpr, _ in programs(traced) for equation in jaxpr.eqns)
    convolutions = (equation.params for equation in equations if equation.primitive.name == "conv_general_dilated")
    return any(params["dimension_numbers"].lhs_spec[0] != 0 for params in convolutions)
