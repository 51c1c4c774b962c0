"""Batch statistics that are estimated anew by passes in training mode."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.analysis.batch_statistics import readjusted
from jaxgen.game import TrainState
from jaxgen.nn import BatchNorm


class Two(nn.Module):
    """A layer that the pass reaches, and one that it does not."""

    def setup(self) -> None:
        self.reached, self.left = BatchNorm(momentum=0.9), BatchNorm(momentum=0.9)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return self.left(self.generate(x, train=train), train=train)

    def generate(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return self.reached(x, train=train)


def passes(n: int) -> tuple[Any, Any]:
    module = Two()
    made = module.init(jax.random.key(0), jnp.zeros((1, 3)))
    state = TrainState(jnp.int32(5), jax.random.key(3), {"model": made["params"]}, {}, {"model": {**made, "params": {}}}, {})
    state = state._replace(vars={"model": {"batch_stats": made["batch_stats"]}, "other": jnp.ones(2)})

    def forward(variables: Any, key: Any) -> Any:
        x = 3 + 2 * jax.random.normal(key, (500, 3))
        return module.apply(variables, x, train=True, method="generate", mutable=["batch_stats"])[1]

    return state, jax.jit(lambda state: readjusted(state, forward, passes=n))(state)


def test_the_statistics_become_those_of_what_is_drawn() -> None:
    before, after = passes(60)
    found = after.vars["model"]["batch_stats"]
    np.testing.assert_allclose(found["reached"]["BatchNorm_0"]["mean"], 3, atol=0.15)
    np.testing.assert_allclose(found["reached"]["BatchNorm_0"]["var"], 4, rtol=0.1)
    left = before.vars["model"]["batch_stats"]["left"]["BatchNorm_0"]
    np.testing.assert_array_equal(found["left"]["BatchNorm_0"]["var"], left["var"])
    np.testing.assert_array_equal(after.vars["other"], before.vars["other"])
    again = passes(60)[1]
    np.testing.assert_array_equal(
        again.vars["model"]["batch_stats"]["reached"]["BatchNorm_0"]["mean"], found["reached"]["BatchNorm_0"]["mean"]
    )


def test_one_pass_is_one_step_of_the_running_average() -> None:
    _, after = passes(1)
    np.testing.assert_allclose(after.vars["model"]["batch_stats"]["reached"]["BatchNorm_0"]["mean"], 0.1 * 3, atol=0.03)


def test_no_pass_changes_nothing() -> None:
    before, after = passes(0)
    jax.tree.map(np.testing.assert_array_equal, before.vars, after.vars)
