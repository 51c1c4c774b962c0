"""Normalisation layers against numpy and PyTorch's definition of the running averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen import replicas
from jaxgen.nn import BatchNorm, GroupNorm, LayerNorm

X = 2 * normal(8, 3, 3, 4) + 1


def standardised(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def test_batch_norm_in_training_and_after() -> None:
    layer = BatchNorm(momentum=0.7)
    variables = layer.init(jax.random.key(0), X, train=True)
    out, updated = layer.apply(variables, X, train=True, mutable=["batch_stats"])
    x = np.asarray(X, np.float64)
    np.testing.assert_allclose(out, standardised(x, (0, 1, 2), 1e-5), atol=1e-5)
    (stats,) = updated["batch_stats"].values()
    np.testing.assert_allclose(stats["mean"], 0.3 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.7 + 0.3 * x.var((0, 1, 2)), rtol=1e-5)

    later = layer.apply({**variables, **updated}, X, train=False)
    expected = (x - stats["mean"]) / np.sqrt(np.asarray(stats["var"]) + 1e-5)
    np.testing.assert_allclose(later, expected, atol=1e-5)


def test_batch_norm_under_pmap_has_the_statistics_of_the_global_batch() -> None:
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), X, train=True)

    def run(x: jax.Array) -> tuple:
        return layer.apply(variables, x, train=True, mutable=["batch_stats"])

    whole, stats = run(X)
    parts, parts_stats = jax.pmap(run, axis_name=replicas.AXIS)(X.reshape(4, 2, *X.shape[1:]))
    np.testing.assert_allclose(parts.reshape(X.shape), whole, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[3], b, atol=1e-6), parts_stats, stats)


@pytest.mark.parametrize(("groups", "used"), [(2, 2), (32, 4), (3, 1)])
def test_group_norm_takes_as_many_groups_as_divide_the_channels(groups: int, used: int) -> None:
    layer = GroupNorm(groups)
    out = layer.apply(layer.init(jax.random.key(0), X), X)
    x = np.asarray(X, np.float64).reshape(8, 3, 3, used, -1)
    np.testing.assert_allclose(out, standardised(x, (1, 2, 4), 1e-6).reshape(X.shape), atol=1e-5)
    assert not GroupNorm(groups, affine=False).init(jax.random.key(0), X)


def test_layer_norm_normalises_each_vector() -> None:
    out = LayerNorm().apply(LayerNorm().init(jax.random.key(0), X), X)
    np.testing.assert_allclose(out, standardised(np.asarray(X, np.float64), (3,), 1e-5), atol=1e-5)


@pytest.mark.parametrize("layer", [GroupNorm(dtype=jnp.bfloat16), LayerNorm(dtype=jnp.bfloat16)])
def test_half_precision_comes_out_and_float32_computes(layer) -> None:
    out, variables = layer.init_with_output(jax.random.key(0), 1000 + X.astype(jnp.bfloat16))
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
