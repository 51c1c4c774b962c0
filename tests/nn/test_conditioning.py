"""Conditional normalisations against their formulas in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.nn import AdaptiveGroupNorm, AdditiveGroupNorm, ConditionalInstanceNorm, ConditionalResidualBlock

X, CONDITION = 2 + 3 * normal(2, 4, 6, 64), normal(2, 5, seed=1)
NORMS = [AdditiveGroupNorm, AdaptiveGroupNorm, ConditionalInstanceNorm]


def dense(p: dict) -> np.ndarray:
    return np.asarray(CONDITION @ p["kernel"] + p["bias"], np.float64)[:, None, None]


def grouped(x: np.ndarray, p: dict, groups: int = 32) -> np.ndarray:
    y = np.asarray(x, np.float64).reshape(2, 4, 6, groups, -1)
    y = (y - y.mean((1, 2, 4), keepdims=True)) / np.sqrt(y.var((1, 2, 4), keepdims=True) + 1e-6)
    return y.reshape(2, 4, 6, 64) * np.asarray(p["scale"]) + np.asarray(p["bias"])


def test_additive_shifts_before_the_normalisation() -> None:
    variables = filled(AdditiveGroupNorm(), X, CONDITION)
    p = variables["params"]
    expected = grouped(np.asarray(X) + dense(p["Dense_0"]), p["GroupNorm_0"]["GroupNorm_0"], 16)
    np.testing.assert_allclose(AdditiveGroupNorm().apply(variables, X, CONDITION), expected, rtol=1e-3, atol=1e-3)


def test_adaptive_scales_and_shifts_after_the_normalisation() -> None:
    variables = filled(AdaptiveGroupNorm(), X, CONDITION)
    p = variables["params"]
    scale, shift = np.split(dense(p["Dense_0"]), 2, axis=-1)
    expected = grouped(np.asarray(X), p["GroupNorm_0"]["GroupNorm_0"], 16) * (1 + scale) + shift
    np.testing.assert_allclose(AdaptiveGroupNorm().apply(variables, X, CONDITION), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [AdditiveGroupNorm, AdaptiveGroupNorm])
def test_groups_and_epsilon_are_those_of_the_normalisation(kind) -> None:
    layer, without = kind(groups=2, epsilon=5.0), jnp.zeros_like(CONDITION)
    variables = jax.tree.map(jnp.zeros_like, filled(layer, X, CONDITION))
    variables["params"]["GroupNorm_0"]["GroupNorm_0"]["scale"] = jnp.ones(64)
    y = np.asarray(X, np.float64).reshape(2, 4, 6, 2, -1)
    y = (y - y.mean((1, 2, 4), keepdims=True)) / np.sqrt(y.var((1, 2, 4), keepdims=True) + 5.0)
    np.testing.assert_allclose(layer.apply(variables, X, without), y.reshape(X.shape), rtol=1e-4, atol=1e-4)


def test_instance_norm_keeps_the_channels_means() -> None:
    variables = filled(ConditionalInstanceNorm(), X, CONDITION)
    scale, shift, share = np.split(dense(variables["params"]["Dense_0"]), 3, axis=-1)
    x = np.asarray(X, np.float64)
    mu, s = x.mean((1, 2), keepdims=True), x.std((1, 2), keepdims=True)
    m, v = mu.mean(-1, keepdims=True), mu.std(-1, keepdims=True)
    expected = (1 + scale) * (x - mu) / s + shift + (1 + share) * (mu - m) / v
    np.testing.assert_allclose(ConditionalInstanceNorm().apply(variables, X, CONDITION), expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_block_starts_as_its_shortcut_and_then_hears_the_condition(norm) -> None:
    block = ConditionalResidualBlock(64, norm)
    started = block.init(jax.random.key(0), X, CONDITION)
    np.testing.assert_allclose(block.apply(started, X, CONDITION), X, rtol=1e-5)
    variables = filled(block, X, CONDITION)
    apply = jax.jit(block.apply)
    one, other = apply(variables, X, CONDITION), apply(variables, X, CONDITION + 1)
    assert np.abs(one - other).max() > 0.01
    # Each example hears its own.
    mixed = apply(variables, X, CONDITION.at[1].add(1.0))
    np.testing.assert_allclose(mixed[0], one[0], rtol=1e-4, atol=1e-4)
    assert np.abs(mixed[1] - one[1]).max() > 0.01


@pytest.mark.parametrize("channels", [4, 8, 32])
def test_a_shift_is_not_normalised_away_where_channels_are_few(channels: int) -> None:
    x = normal(2, 4, 4, channels)
    variables = filled(AdditiveGroupNorm(), x, CONDITION)
    found = [AdditiveGroupNorm().apply(variables, x, c) for c in (CONDITION, CONDITION + 1)]
    assert np.abs(found[0] - found[1]).max() > 0.05


def test_dropout_is_for_training() -> None:
    block = ConditionalResidualBlock(64, dropout=0.5)
    variables = filled(block, X, CONDITION)
    plain = block.apply(variables, X, CONDITION)
    np.testing.assert_array_equal(ConditionalResidualBlock(64).apply(variables, X, CONDITION), plain)
    dropped = block.apply(variables, X, CONDITION, True, rngs={"dropout": jax.random.key(0)})
    assert np.abs(dropped - plain).max() > 0.01
    half = ConditionalResidualBlock(64, dtype=jnp.bfloat16).apply(variables, X, CONDITION)
    assert half.dtype == jnp.bfloat16
