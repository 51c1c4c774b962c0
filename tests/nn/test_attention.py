"""Attention against its formula, written out in numpy."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.nn import Attention, KVCache, attend, attention_weights, causal_mask


def formula(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None = None, bias: Any = 0.0) -> np.ndarray:
    logits = np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(q.shape[-1]) + bias
    if mask is not None:
        logits = np.where(mask[:, None], logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhnm,bmhd->bnhd", weights, v)


@pytest.mark.parametrize("masked", [None, "queries", "keys"])
def test_attend(masked: str | None) -> None:
    q, k, v = normal(2, 5, 3, 4), 3 * normal(2, 6, 3, 4, seed=1), normal(2, 6, 3, 4, seed=2)
    mask = {
        None: None,
        "queries": jnp.tril(jnp.ones((1, 5, 6), bool)),
        "keys": jnp.arange(6)[None, None] < jnp.array([3, 6])[:, None, None],
    }[masked]
    expected = formula(*(np.asarray(x, np.float64) for x in (q, k, v)), None if mask is None else np.asarray(mask))
    np.testing.assert_allclose(attend(q, k, v, mask), expected, atol=1e-5)


def test_softmax_of_half_precision_is_in_float32() -> None:
    # 300 keys of one logit: each weight is below the resolution of bfloat16 next to the others' sum.
    q, k, v = (
        jnp.zeros((1, 1, 1, 2), jnp.bfloat16),
        jnp.zeros((1, 300, 1, 2), jnp.bfloat16),
        jnp.ones((1, 300, 1, 2), jnp.bfloat16),
    )
    out = attend(q, k, v)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), 1.0, atol=0.01)


def test_attention_to_itself_and_to_a_context() -> None:
    layer, x, context = Attention(2), normal(2, 5, 8), normal(2, 3, 6, seed=1)
    for given in ((x,), (x, context)):
        variables = layer.init(jax.random.key(0), *given)
        p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
        to = np.asarray(given[-1], np.float64)
        q = np.einsum("bnc,chd->bnhd", np.asarray(x, np.float64), p["query"]["kernel"]) + p["query"]["bias"]
        k, v = (np.einsum("bnc,chd->bnhd", to, p[name]["kernel"]) + p[name]["bias"] for name in ("key", "value"))
        expected = np.einsum("bnhd,hdc->bnc", formula(q, k, v), p["out"]["kernel"]) + p["out"]["bias"]
        np.testing.assert_allclose(layer.apply(variables, *given), expected, atol=1e-5)


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="8 channels cannot be cut into 3 heads"):
        Attention(3).init(jax.random.key(0), normal(1, 2, 8))


@pytest.mark.parametrize("shape", [(2, 3, 5, 6), (1, 3, 5, 6), (2, 1, 1, 6), (1, 1, 1, 1)])
@pytest.mark.parametrize("width", [4, 7])  # of the values; another one than the keys' takes another way
def test_a_bias_is_added_to_the_logits(shape: tuple[int, ...], width: int) -> None:
    q, k, v, bias = normal(2, 5, 3, 4), normal(2, 6, 3, 4, seed=1), normal(2, 6, 3, width, seed=2), 3 * normal(*shape, seed=3)
    mask = jnp.arange(6)[None, None] < jnp.array([3, 6])[:, None, None]
    expected = formula(*(np.asarray(x, np.float64) for x in (q, k, v)), np.asarray(mask), np.asarray(bias, np.float64))
    np.testing.assert_allclose(attend(q, k, v, mask, bias), expected, atol=1e-5)


def test_dropped_weights_are_zero_and_the_others_are_scaled() -> None:
    q, k = normal(2, 50, 3, 4), normal(2, 60, 3, 4, seed=1)
    one_hot = jnp.broadcast_to(jnp.eye(60)[None, :, None], (2, 60, 3, 60))  # values that are the weights
    weights = attention_weights(q, k)
    dropped = attend(q, k, one_hot, dropout=0.25, key=jax.random.key(0)).swapaxes(1, 2)
    np.testing.assert_array_equal(attend(q, k, one_hot, dropout=0.25).swapaxes(1, 2), weights)
    kept = dropped > 0
    np.testing.assert_allclose(dropped, jnp.where(kept, weights / 0.75, 0), rtol=1e-5)
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.25 * 0.75 / kept.size)


@pytest.mark.trains
def test_half_precision_has_a_gradient_where_weights_are_dropped() -> None:
    q, k, v = (normal(2, 5, 3, 4, seed=i).astype(jnp.bfloat16) for i in range(3))

    def value(q: jax.Array, **how: Any) -> jax.Array:
        return attend(q, k, v, **how).astype(jnp.float32).sum()

    dropped = jax.grad(lambda q: value(q, dropout=1e-6, key=jax.random.key(0)))(q)
    assert dropped.dtype == jnp.bfloat16
    np.testing.assert_allclose(dropped.astype(jnp.float32), jax.grad(value)(q).astype(jnp.float32), atol=0.05)


def test_weights_are_returned_on_request() -> None:
    layer, x, mask = Attention(2), normal(2, 5, 8), causal_mask(5)
    variables = layer.init(jax.random.key(0), x)
    assert set(variables) == {"params"}
    y, updated = layer.apply(variables, x, mask=mask, mutable=["attention"])
    np.testing.assert_allclose(y, layer.apply(variables, x, mask=mask), atol=1e-6)
    (weights,) = updated["attention"]["weights"]
    p = variables["params"]
    q, k = (jnp.einsum("bnc,chd->bnhd", x, p[name]["kernel"]) for name in ("query", "key"))
    np.testing.assert_allclose(weights, attention_weights(q, k, mask), atol=1e-5)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_widths_biases_and_values_of_their_own() -> None:
    layer = Attention(2, key_width=6, value_width=10, query_bias=False, key_bias=False)
    x, context, values = normal(2, 5, 8), normal(2, 3, 6, seed=1), normal(2, 3, 7, seed=2)
    variables = layer.init(jax.random.key(0), x, context, values)
    p = variables["params"]
    assert jax.tree.map(jnp.shape, p) == {
        "query": {"kernel": (8, 2, 3)},
        "key": {"kernel": (6, 2, 3)},
        "value": {"kernel": (7, 2, 5), "bias": (2, 5)},
        "out": {"kernel": (2, 5, 8), "bias": (8,)},
    }
    q, k, v = (
        np.einsum("bnc,chd->bnhd", *(np.asarray(a, np.float64) for a in (of, p[name]["kernel"])))
        for name, of in (("query", x), ("key", context), ("value", values))
    )
    expected = np.einsum("bnhd,hdc->bnc", formula(q, k, v), p["out"]["kernel"])
    np.testing.assert_allclose(layer.apply(variables, x, context, values), expected, atol=1e-5)
    without = Attention(2, out_bias=False, value_bias=False, key_bias=False, query_bias=False)
    assert all(set(q) == {"kernel"} for q in without.init(jax.random.key(0), x)["params"].values())


@pytest.mark.parametrize("prefix", [1, 3, 6])
def test_with_a_cache_every_position_is_what_it_is_in_the_whole(prefix: int) -> None:
    layer, x = Attention(2, value_width=10), normal(2, 6, 8)
    variables = layer.init(jax.random.key(0), x)
    bias, mask = normal(1, 2, 6, 8, seed=1), jnp.ones((2, 6, 8), bool).at[0, 3:, 1].set(False)
    whole = layer.apply(variables, x, bias=bias[..., :6], mask=causal_mask(6) & mask[..., :6])
    step = jax.jit(functools.partial(layer.apply, method="step"))
    cache = layer.init_cache(2, 8, 8)  # longer than the sequence
    first, cache = step(variables, x[:, :prefix], cache, 0, bias=bias[:, :, :prefix], mask=mask[:, :prefix])
    rows = [first]
    for i in range(prefix, 6):
        y, cache = step(variables, x[:, i : i + 1], cache, jnp.int32(i), bias=bias[:, :, i : i + 1], mask=mask[:, i : i + 1])
        rows.append(y)
    np.testing.assert_allclose(jnp.concatenate(rows, axis=1), whole, atol=1e-5)


@pytest.mark.parametrize(("position", "n", "fits"), [(4, 1, True), (5, 1, False), (4, 2, False), (-1, 1, False), (0, 5, True)])
def test_positions_beyond_the_cache_are_nan(position: int, n: int, fits: bool) -> None:
    layer, x = Attention(2), normal(1, n, 8)
    variables = layer.init(jax.random.key(0), x)
    y, cache = layer.apply(variables, x, layer.init_cache(1, 5, 8), position, method="step")
    assert isinstance(cache, KVCache)
    assert jnp.isnan(y).all() == (not fits)


def test_a_cache_has_the_dtype_of_the_computation() -> None:
    layer = Attention(2, dtype=jnp.bfloat16)
    x, cache = normal(1, 1, 8), layer.init_cache(3, 5, 8)
    y, after = layer.apply(layer.init(jax.random.key(0), x), normal(3, 1, 8), cache, 0, method="step")
    assert {a.dtype for a in (y, *cache, *after)} == {jnp.dtype(jnp.bfloat16)}
    assert cache.keys.shape == cache.values.shape == (3, 5, 2, 4)
