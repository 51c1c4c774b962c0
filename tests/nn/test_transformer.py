"""Transformers against the formula in numpy, and what a mask must hide."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal
from scipy.special import erf, softmax

from jaxgen.nn import Transformer, causal_mask, quick_gelu
from jaxgen.nn.transformer import TransformerBlock

X = normal(2, 5, 8)


def by_hand(params: Any, x: np.ndarray, heads: int, mask: np.ndarray, activation: Any) -> np.ndarray:
    """A pre-norm block, one example and one head at a time."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)

    def norm(a: np.ndarray, q: Any) -> np.ndarray:
        return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5) * q["scale"] + q["bias"]

    out = []
    for sequence in np.float64(x):
        y = norm(sequence, p["attention_norm"]["LayerNorm_0"])
        total = np.zeros_like(sequence) + p["attention"]["out"]["bias"]
        for h in range(heads):
            q, k, v = (y @ p["attention"][n]["kernel"][:, h] + p["attention"][n]["bias"][h] for n in ("query", "key", "value"))
            weights = softmax(np.where(mask, q @ k.T / np.sqrt(q.shape[-1]), -np.inf), axis=-1)
            total += weights @ v @ p["attention"]["out"]["kernel"][h]
        sequence = sequence + total
        y = norm(sequence, p["mlp_norm"]["LayerNorm_0"])
        hidden = activation(y @ p["mlp_in"]["kernel"] + p["mlp_in"]["bias"])
        out.append(sequence + hidden @ p["mlp_out"]["kernel"] + p["mlp_out"]["bias"])
    return np.stack(out)


def gelu(a: np.ndarray) -> np.ndarray:
    return a * (1 + erf(a / math.sqrt(2))) / 2


@pytest.mark.parametrize(("causal", "activation"), [(False, "gelu"), (True, "quick")])
def test_blocks_are_the_formula(causal: bool, activation: str) -> None:
    ours = {"gelu": lambda a: jax.nn.gelu(a, approximate=False), "quick": quick_gelu}[activation]
    theirs = {"gelu": gelu, "quick": lambda a: a / (1 + np.exp(-1.702 * a))}[activation]
    model = Transformer(2, 2, causal, activation=ours)
    params = filled(model, X)
    mask = np.tril(np.ones((5, 5), bool)) if causal else np.ones((5, 5), bool)
    expected = np.asarray(X)
    for i in range(2):
        expected = by_hand(params["params"][f"block_{i}"], expected, 2, mask, theirs)
    np.testing.assert_allclose(jax.jit(model.apply)(params, X), expected, rtol=1e-4, atol=1e-5)


def test_a_later_token_changes_no_earlier_output() -> None:
    model = Transformer(2, 2, causal=True)
    params = filled(model, X)
    apply = jax.jit(model.apply)
    y, changed = apply(params, X), apply(params, X.at[:, 3, 0].add(1.0))
    np.testing.assert_array_equal(y[:, :3], changed[:, :3])
    assert np.abs(y[:, 3:] - changed[:, 3:]).max(axis=(0, 2)).min() > 1e-4
    both = jax.jit(Transformer(2, 2).apply)
    assert np.abs(both(params, X)[:, 0] - both(params, X.at[:, 3, 0].add(1.0))[:, 0]).max() > 1e-4


def test_a_mask_hides_a_position_from_the_others_and_joins_the_causal_one() -> None:
    params = filled(Transformer(1, 2), X)
    apply, causal = jax.jit(Transformer(1, 2).apply), jax.jit(Transformer(1, 2, causal=True).apply)
    mask = jnp.ones((2, 5, 5), bool).at[0, :, 1].set(False)
    y = apply(params, X, mask)
    without = apply(params, jnp.delete(X, 1, axis=1))
    np.testing.assert_allclose(jnp.delete(y, 1, axis=1)[0], without[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y[1], apply(params, X)[1], rtol=1e-5, atol=1e-6)
    joined = causal(params, X, mask)
    np.testing.assert_allclose(joined, apply(params, X, mask & causal_mask(5)), rtol=1e-6)
    assert np.abs(joined[0] - causal(params, X)[0]).max() > 1e-3


def test_initial_scales_are_those_of_the_authors() -> None:
    width, depth = 256, 2
    params = jax.jit(Transformer(depth, 4).init)(jax.random.key(0), jnp.zeros((1, 2, width)))["params"]
    std = jax.tree.map(lambda *a: float(np.std(np.stack(a))), *params.values())
    residual = (2 * depth) ** -0.5 * width**-0.5
    for name in ("query", "key", "value"):
        assert std["attention"][name]["kernel"] == pytest.approx(width**-0.5, rel=0.03)
    assert std["attention"]["out"]["kernel"] == pytest.approx(residual, rel=0.03)
    assert std["mlp_in"]["kernel"] == pytest.approx((2 * width) ** -0.5, rel=0.03)
    assert std["mlp_out"]["kernel"] == pytest.approx(residual, rel=0.03)
    assert std["mlp_in"]["bias"] == std["mlp_out"]["bias"] == std["attention"]["out"]["bias"] == 0


def test_rematerialised_blocks_have_the_same_values_gradients_and_parameters() -> None:
    plain, saving = (Transformer(1, 2, causal=True, remat=remat) for remat in (False, True))
    params = filled(plain, X)
    assert jax.tree.structure(params) == jax.tree.structure(filled(saving, X))

    def value(model: Transformer, params: Any) -> jax.Array:
        return (model.apply(params, X) ** 2).sum()

    for a, b in zip(
        *(jax.tree.leaves(jax.jit(jax.grad(lambda p, m=m: value(m, p)))(params)) for m in (plain, saving)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_close_to_float32_and_keeps_float32_parameters() -> None:
    half = TransformerBlock(2, dtype=jnp.bfloat16)
    params = filled(TransformerBlock(2), X)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    with jax.numpy_dtype_promotion("standard"):  # within jax.nn.dot_product_attention
        y = jax.jit(half.apply)(params, X)
    full = jax.jit(TransformerBlock(2).apply)(params, X)
    assert y.dtype == jnp.bfloat16
    assert 0 < np.abs(y.astype(jnp.float32) - full).max() < 0.05 * np.abs(full).max()


LOOPS = [Transformer(3, 2, loop=loop, causal=True) for loop in (False, True)]


def test_as_a_loop_the_blocks_are_the_same() -> None:
    apart, loop = LOOPS
    params = filled(apart, X)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, filled(loop, X))
    jax.tree.map(np.testing.assert_array_equal, apart.init(jax.random.key(0), X), loop.init(jax.random.key(0), X))
    mask = jnp.ones((2, 5, 5), bool).at[0, :, 1].set(False)

    def both(model: Transformer) -> Any:
        def loss(params: Any, x: jax.Array) -> jax.Array:
            return jnp.sin(model.apply(params, x, mask)).sum()

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, X)

    for a, b in zip(jax.tree.leaves(both(loop)), jax.tree.leaves(both(apart)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_as_a_loop_half_precision_stays_half() -> None:
    apart, loop = (model.clone(dtype=jnp.bfloat16) for model in LOOPS)
    params = filled(apart, X)
    y = jax.jit(loop.apply)(params, X)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(y), np.float32(jax.jit(apart.apply)(params, X)), atol=0.05)


@pytest.mark.parametrize("depth", [2, 6])
def test_a_loop_compiles_one_block_however_deep(depth: int) -> None:
    x = jnp.zeros((1, 4, 8))

    def products(model: Transformer) -> int:
        shapes = jax.eval_shape(model.init, jax.random.key(0), x)
        return jax.jit(model.apply).lower(shapes, x).as_text().count("stablehlo.dot_general")

    assert products(Transformer(depth, 2, loop=True)) == products(Transformer(1, 2, loop=True))
    assert products(Transformer(depth, 2, loop=False)) == depth * products(Transformer(1, 2, loop=False))


def test_rematerialised_in_a_loop_it_takes_less_memory_on_every_backend() -> None:
    x = jnp.zeros((8, 32, 32))

    def memory(model: Transformer) -> int:
        shapes = jax.eval_shape(model.init, jax.random.key(0), x)
        gradient = jax.jit(jax.grad(lambda params: (model.apply(params, x) ** 2).sum()))
        return gradient.lower(shapes).compile().memory_analysis().temp_size_in_bytes

    plain, saving = (memory(Transformer(8, 2, remat=remat)) for remat in (False, True))
    assert saving < 0.5 * plain
