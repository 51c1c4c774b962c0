"""The number of times that a sample passes through a network."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from contract import make

from jaxgen.game import averaged
from jaxgen.runs.run import begin
from jaxgen.samples.evaluations import ROWS, network_evaluations


class Twice(nn.Module):
    """Calls a network of its own twice: one evaluation all the same."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dense = nn.Dense(x.shape[-1])
        return dense(dense(x))


PARAMS = {"params": {"Dense_0": {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}}}


def network(x: jax.Array) -> jax.Array:
    return Twice().apply(PARAMS, x)


def start(key: jax.Array, given: Any) -> jax.Array:
    return jax.random.normal(key, (len(given["index"]), 2))


def loop(state: Any, key: jax.Array, given: Any) -> jax.Array:
    return jax.lax.fori_loop(0, 5, lambda i, x: network(x), start(key, given))


def guided(state: Any, key: jax.Array, given: Any) -> jax.Array:
    x = start(key, given)
    both = network(jnp.concatenate([x, x]))
    return both[: len(x)] + network(jnp.zeros((1, 2)))  # the second does not see the samples


def branches(state: Any, key: jax.Array, given: Any) -> jax.Array:
    def step(x: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        return jax.lax.cond(t > 0, lambda x: network(network(x)), network, x), None

    return jax.lax.scan(step, start(key, given), jnp.arange(4))[0]


def adaptive(state: Any, key: jax.Array, given: Any) -> jax.Array:
    return jax.lax.while_loop(lambda x: abs(x).max() > 1, lambda x: 0.5 * network(x), start(key, given))


@pytest.mark.parametrize(
    ("sample", "expected"),
    [(loop, 5), (guided, 2), (branches, 8), (adaptive, None), (jax.jit(loop), 5), (lambda *of: start(of[1], of[2]), 0)],
    ids=["loop", "guided", "branches", "adaptive", "compiled", "none"],
)
def test_networks_are_counted_in_loops_branches_and_batches(sample: Any, expected: float | None) -> None:
    assert network_evaluations(sample, None) == expected


def test_a_sampler_that_was_compiled_before_is_counted_too() -> None:
    compiled = jax.jit(loop)
    compiled(None, jax.random.key(0), {"index": jnp.arange(ROWS, dtype=jnp.int32)})
    assert network_evaluations(compiled, None) == 5


@pytest.mark.parametrize("steps", [2, 3, 6, 51, 101, 1_000])
def test_a_network_of_a_grid_of_times_sees_no_samples_whatever_the_length_of_the_grid(steps: int) -> None:
    def sample(state: Any, key: jax.Array, given: Any) -> jax.Array:
        return network(start(key, given)) + network(jnp.zeros((steps, 2))).sum() + network(jnp.zeros((steps + 1, 2))).sum()

    assert network_evaluations(sample, None) == 1


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        ("vae", {}, 1),
        ("ddpm", {"sampler": "ddim", "sampling_steps": 3}, 3),
        ("edm", {"sampler": "heun", "sampling_steps": 3}, 6),
        ("edm", {"sampler": "unipc", "sampling_steps": 3}, 3),
        ("classifier_free_guidance", {"sampling_steps": 3}, 6),
        pytest.param("score_sde", {"sampling_steps": 3, "corrector_steps": 2}, 9, marks=pytest.mark.slow),
        pytest.param("score_sde", {"sampler": "ode"}, None, marks=pytest.mark.slow),
        # Its network of gamma sees no samples.
        *(pytest.param("vdm", {"sampling_steps": steps}, steps, marks=pytest.mark.slow) for steps in (3, 5)),
    ],
)
def test_samplers_take_what_their_papers_say(name: str, flags: dict[str, Any], expected: float | None) -> None:
    made = make(name, steps=1, **flags)
    assert made.sample is not None
    assert network_evaluations(made.sample, averaged(begin(made, 0)), made.given) == expected
