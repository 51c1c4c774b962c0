"""Calling a module: which parameters, which variables, which draws."""

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.objectives import apply

X = 3.0 + 2.0 * normal(64, 5)


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return nn.BatchNorm(momentum=0.9)(x, use_running_average=not train)


class Counter(nn.Module):
    """Counts its calls, evaluation or not."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        count = self.variable("counts", "calls", lambda: jnp.array(0))
        count.value += 1
        return x


class Random(nn.Module):
    """Drops inputs, and draws."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return nn.Dropout(0.5, deterministic=not train)(x)

    def drawn(self, x: jax.Array, scale: float, *, train: bool = False) -> jax.Array:
        return scale * jax.random.normal(self.make_rng("sample"), x.shape)


@pytest.fixture
def parts() -> tuple[dict, dict]:
    """Parameters and variables of a module under the name `net`, beside those of others."""
    variables = Normalised().init(jax.random.key(0), X)
    params = {"net": variables["params"], "other": {"w": jnp.ones(3)}}
    return params, {"net": {"batch_stats": variables["batch_stats"]}, "other": {"counts": jnp.arange(4)}}


def test_training_normalises_by_the_batch_and_updates_the_running_statistics(parts: tuple[dict, dict]) -> None:
    params, vars = parts
    y, new = apply(Normalised(), params, vars, X, name="net", train=True)
    np.testing.assert_allclose(y, (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5), rtol=1e-4, atol=1e-4)
    stats = new["net"]["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], 0.1 * X.mean(0), rtol=1e-4)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * X.var(0), rtol=1e-4)


def test_evaluation_normalises_by_the_running_statistics_and_leaves_them(parts: tuple[dict, dict]) -> None:
    params, vars = parts
    y, new = apply(Normalised(), params, vars, X, name="net")
    np.testing.assert_allclose(y, X / np.sqrt(1 + 1e-5), rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, new, vars)


def test_evaluation_refuses_to_update_variables() -> None:
    params, vars = {"model": {}}, {"model": {"counts": {"calls": jnp.array(4)}}}
    _, new = apply(Counter(), params, vars, X, train=True)
    assert new["model"]["counts"]["calls"] == 5
    with pytest.raises(flax.errors.ModifyScopeVariableError):
        apply(Counter(), params, vars, X)


@pytest.mark.parametrize("train", [True, False])
def test_variables_of_other_names_and_those_handed_in_are_not_touched(train: bool, parts: tuple[dict, dict]) -> None:
    params, vars = parts
    before = jax.tree.map(np.array, vars)
    _, new = apply(Normalised(), params, vars, X, name="net", train=train)
    assert new["other"] is vars["other"]
    assert set(new) == {"net", "other"}
    jax.tree.map(np.testing.assert_array_equal, vars, before)


def test_variables_of_two_names_go_their_own_ways(parts: tuple[dict, dict]) -> None:
    params, vars = parts
    params, vars = {**params, "twin": params["net"]}, {**vars, "twin": vars["net"]}
    _, vars = apply(Normalised(), params, vars, X, name="net", train=True)
    _, vars = apply(Normalised(), params, vars, -X, name="twin", train=True)
    mean, twin = (vars[name]["batch_stats"]["BatchNorm_0"]["mean"] for name in ("net", "twin"))
    np.testing.assert_allclose(mean, -twin, rtol=1e-6)


def test_a_module_without_variables_trains() -> None:
    y, vars = apply(Random(), {"model": {}}, {"other": 1}, X, key=jax.random.key(0), train=True)
    assert y.shape == X.shape
    assert vars == {"other": 1}


def test_draws_come_from_the_key_alone() -> None:
    def dropped(seed: int) -> jax.Array:
        return apply(Random(), {"model": {}}, {}, X, key=jax.random.key(seed), train=True)[0]

    np.testing.assert_array_equal(dropped(0), dropped(0))
    assert not np.array_equal(dropped(0), dropped(1))
    np.testing.assert_allclose((dropped(0) == 0).mean(), 0.5, atol=0.15)
    # Evaluation needs no key, and training without one is an error and not a fixed draw.
    np.testing.assert_array_equal(apply(Random(), {"model": {}}, {}, X)[0], X)
    with pytest.raises(flax.errors.InvalidRngError):
        apply(Random(), {"model": {}}, {}, X, train=True)


def test_any_method_is_called_with_all_its_inputs() -> None:
    draws, _ = apply(Random(), {"model": {}}, {}, jnp.zeros(10_000), 3.0, key=jax.random.key(0), method="drawn")
    np.testing.assert_allclose(draws.std(), 3.0, rtol=0.05)
