"""The ways that a game can be run: on all devices or the first ones, and one step of it on a batch that a test writes down."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import jaxgen
from jaxgen.devices import parallel
from jaxgen.training.program import make_advance

WAYS: dict[str, dict[str, Any]] = {
    "one": {},
    "mesh": {"kind": "jit"},
    "fsdp": {"kind": "jit", "fsdp": 8},
    "pmap": {"kind": "pmap"},
}
"""One device, and eight."""

ALL = tuple(jax.devices())


@contextlib.contextmanager
def there_are(devices: int) -> Iterator[None]:
    """The first devices, as if there were no more."""
    here = lambda *backend: list(ALL[:devices])
    with mock.patch.object(jax, "devices", here), mock.patch.object(jax, "local_devices", here):
        yield


def stepper(
    players: dict[str, jaxgen.Player], way: str, batch: Any, *, params: Any, vars: Any = None, accumulate: int = 1
) -> Callable[..., tuple[Any, dict[str, float], Any]]:
    """A compiled step from given parameters: `step(batch, ...) -> (state as it is viewed, metrics, state on the devices)`.

    Several batches are taken one after another, and the metrics are those of all of them.
    """
    step, how = jaxgen.make_train_step(players, accumulate=accumulate), parallel.choose(**WAYS[way])
    state = jaxgen.create_state(jax.random.key(0), params, vars or {}, players)
    window = jax.eval_shape(step, state, batch)[1]
    advance = how.compile(make_advance(step, 1), state, window)

    def take(*batches: Any) -> tuple[Any, dict[str, float], Any]:
        # Copies, because the step takes its arguments over.
        now = how.place(jax.tree.map(jnp.copy, state))
        metrics = how.place(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), window))
        for one in batches:
            rows, n = how.feed(jax.tree.map(lambda x: np.asarray(x)[None], one), 1)
            now, metrics, _ = advance(now, metrics, rows, n, how.number(0))
        return how.to_view(now), jaxgen.reduction.compute(how.to_view(metrics)), now

    return take
