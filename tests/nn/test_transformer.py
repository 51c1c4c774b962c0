"""Transformers against the formula in numpy, and what a mask must hide."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from parameters import filled, normal
from scipy.special import erf, softmax

from jaxgen.nn import Attention, Initializers, LayerNorm, Transformer, TransformerBlock, causal_mask, quick_gelu, xavier

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


@pytest.mark.slow
@pytest.mark.parametrize("prefix", [1, 3])
def test_decoding_with_a_cache_gives_every_position_and_its_gradient(prefix: int) -> None:
    model = Transformer(2, 2, causal=True)
    params, context = filled(model, X, context=normal(2, 3, 6, seed=1)), normal(2, 3, 6, seed=1)
    bias, mask = normal(2, 1, 2, 5, 5, seed=2), jnp.ones((2, 1, 5, 5), bool).at[1, 0, 3, 1].set(False)  # of each block

    def decoded(params: Any) -> jax.Array:
        def step(x: jax.Array, cache: Any, i: Any, mask: jax.Array, bias: jax.Array) -> Any:
            return model.apply(params, x, cache, i, mask, bias=bias, context=context, method="step")

        def next_position(cache: Any, i: jax.Array) -> Any:
            x = lax.dynamic_slice_in_dim(X, i, 1, axis=1)
            rows = (lax.dynamic_slice_in_dim(a, i, 1, axis=-2) for a in (mask, bias))
            return step(x, cache, i, *rows)[::-1]

        first, cache = step(X[:, :prefix], model.init_cache(2, 5, 8), 0, mask[..., :prefix, :], bias[..., :prefix, :])
        _, rest = lax.scan(next_position, cache, jnp.arange(prefix, 5))
        return jnp.concatenate([first, rest[:, :, 0].swapaxes(0, 1)], axis=1)

    def whole(params: Any) -> jax.Array:
        return model.apply(params, X, mask, bias=bias, context=context)

    def value(run: Any, params: Any) -> Any:
        y = run(params)
        return jnp.sin(y).sum(), y

    ours, expected = (jax.jit(jax.grad(functools.partial(value, run), has_aux=True))(params) for run in (decoded, whole))
    np.testing.assert_allclose(ours[1], expected[1], rtol=1e-5, atol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), ours[0], expected[0])


@pytest.mark.parametrize("loop", [False, True])
def test_masks_and_biases_may_be_each_blocks_own(loop: bool) -> None:
    model, block = Transformer(2, 2, loop=loop), TransformerBlock(2)
    params = filled(model, X)
    bias, mask = normal(2, 1, 2, 5, 5, seed=2), jnp.ones((2, 1, 5, 5), bool).at[1, 0, 3, 1].set(False)
    expected = X
    for i in range(2):
        expected = block.apply({"params": params["params"][f"block_{i}"]}, expected, mask[i], bias[i])
    np.testing.assert_allclose(model.apply(params, X, mask, bias=bias), expected, rtol=1e-5, atol=1e-5)


def test_only_a_causal_stack_is_decoded_step_by_step() -> None:
    model = Transformer(1, 2)
    with pytest.raises(ValueError, match="causal=True"):
        model.apply(filled(model, X), X[:, :1], model.init_cache(2, 5, 8), 0, method="step")


DROPPING = functools.partial(
    TransformerBlock, dropout=0.2, layer_scale=0.5, gated=True, attention=functools.partial(Attention, dropout=0.3)
)


def test_as_a_loop_the_same_values_are_dropped_and_the_gradient_is_the_same() -> None:
    apart, loop = (Transformer(2, 2, loop=loop, remat=loop, block=DROPPING, drop_path=0.4) for loop in (False, True))
    bias = normal(2, 1, 2, 5, 5, seed=2)
    params = filled(apart, X, bias=bias)

    def loss(params: Any, bias: jax.Array, model: Transformer) -> Any:
        y = model.apply(params, X, bias=bias, train=True, rngs={"dropout": jax.random.key(0)})
        return jnp.sin(y).sum(), y

    ours, theirs = (
        jax.jit(jax.grad(functools.partial(loss, model=model), (0, 1), has_aux=True))(params, bias) for model in (loop, apart)
    )
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), ours[0], theirs[0])
    run = jax.jit(lambda key: loop.apply(params, X, bias=bias, train=True, rngs={"dropout": key}))
    for other in (run(jax.random.key(1)), loop.apply(params, X, bias=bias)):
        assert np.abs(ours[1] - other).max() > 0.01


def test_drop_path_grows_linearly_from_zero_at_the_first_block() -> None:
    model = Transformer(5, 2, drop_path=0.8)
    assert [model._block(i, parent=None).drop_path for i in range(5)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    block, x = TransformerBlock(2, drop_path=0.5), normal(1, 5, 8)
    params = filled(block, x)
    full = block.apply(params, x)
    many = jnp.repeat(x, 400, axis=0)
    y = jax.jit(block.apply)(params, many, key=jax.random.key(0))
    whole = np.isclose(y, many, atol=1e-6).all((1, 2))  # both branches dropped
    assert abs(whole.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)
    assert np.abs(full - x).max() > 0.1


def test_a_stack_that_drops_nothing_needs_no_rng_and_one_that_does_is_not_silent_without() -> None:
    plain = Transformer(2, 2)
    params = filled(plain, X)
    np.testing.assert_array_equal(plain.apply(params, X, train=True), plain.apply(params, X))
    for model in (
        Transformer(2, 2, drop_path=0.1),
        Transformer(2, 2, block=functools.partial(TransformerBlock, dropout=0.1)),
        Transformer(2, 2, block=functools.partial(TransformerBlock, attention=functools.partial(Attention, dropout=0.1))),
    ):
        np.testing.assert_array_equal(model.apply(params, X), plain.apply(params, X))
        with pytest.raises(Exception, match="dropout"):
            model.apply(params, X, train=True)


def test_a_scaled_branch_adds_its_scale_times_what_it_adds_without() -> None:
    plain, scaled = TransformerBlock(2), TransformerBlock(2, layer_scale=1e-2)
    start = scaled.init(jax.random.key(0), X)["params"]
    assert [set(start[name].tolist()) for name in ("attention_scale", "mlp_scale")] == [{float(np.float32(1e-2))}] * 2
    params = filled(scaled, X)["params"]
    a, b = params.pop("attention_scale"), params.pop("mlp_scale")
    params["attention"]["out"] = {name: p * a for name, p in params["attention"]["out"].items()}
    params["mlp_out"] = {name: p * b for name, p in params["mlp_out"].items()}
    merged = plain.apply({"params": params}, X)
    np.testing.assert_allclose(scaled.apply(filled(scaled, X), X), merged, rtol=1e-4, atol=1e-5)


def test_positions_are_added_to_queries_and_keys_alone() -> None:
    block, context = TransformerBlock(2), normal(2, 3, 6, seed=1)
    variables = filled(block, X, context=context)
    p = variables["params"]
    p["mlp_out"] = jax.tree.map(jnp.zeros_like, p["mlp_out"])
    places, others = normal(1, 5, 8, seed=2), normal(2, 3, 6, seed=3)
    norm, attention = LayerNorm(), Attention(2)

    def attended(x: jax.Array, name: str, *given: Any) -> jax.Array:
        y = norm.apply({"params": p[f"{name}_norm"]}, x)
        k, v = given or (y + places, y)
        return x + attention.apply({"params": p[name]}, y + places, k, v)

    expected = attended(attended(X, "attention"), "cross_attention", context + others, context)
    y = block.apply(variables, X, context=context, positions=places, context_positions=others)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    stack = {"params": {"block_0": p}}
    for loop in (False, True):
        model = Transformer(1, 2, loop=loop)
        y = model.apply(stack, X, context=context, positions=places, context_positions=others)
        np.testing.assert_allclose(y, expected, atol=1e-5)


def test_with_norms_after_the_sums_the_output_is_normal() -> None:
    block = TransformerBlock(2, post_norm=True)
    variables = block.init(jax.random.key(0), X)
    y = block.apply(variables, X)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(-1), 1, atol=1e-3)
    p = variables["params"]
    norm = functools.partial(LayerNorm().apply, {"params": p["attention_norm"]})  # as they start, both norms are the same
    x = norm(X + Attention(2).apply({"params": p["attention"]}, X))
    hidden = jax.nn.gelu(x @ p["mlp_in"]["kernel"]) @ p["mlp_out"]["kernel"]
    np.testing.assert_allclose(y, norm(x + hidden), atol=1e-5)


def test_initializers_are_given_width_depth_and_layer() -> None:
    def told(width: int, depth: int, layer: int) -> Initializers:
        return Initializers(*map(jax.nn.initializers.constant, (float(width), float(depth), float(layer), -1.0, -2.0)))

    model = Transformer(3, 2, block=functools.partial(TransformerBlock, initializers=told))
    params = model.init(jax.random.key(0), X)["params"]
    for i in range(3):
        p = jax.tree.map(lambda a: float(a.mean()), params[f"block_{i}"])
        assert [p["attention"][name]["kernel"] for name in ("query", "key", "value", "out")] == [8, 8, 8, 3]
        assert [p[name]["kernel"] for name in ("mlp_in", "mlp_out")] == [i, -1]
        assert [p[name]["bias"] for name in ("mlp_in", "mlp_out")] == [-2, -2]
    # Xavier's variance is 2 / (fan in + fan out); of a uniform one.
    params = jax.jit(TransformerBlock(2, initializers=xavier).init)(jax.random.key(0), normal(1, 2, 64))["params"]
    for name, fans in (("mlp_in", 64 + 256), ("mlp_out", 64 + 256)):
        assert np.abs(params[name]["kernel"]).max() == pytest.approx(np.sqrt(6 / fans), rel=0.01)
        assert params[name]["kernel"].std() == pytest.approx(np.sqrt(2 / fans), rel=0.03)
        assert 0 < params[name]["bias"].std() < 2e-6
    assert params["attention"]["query"]["kernel"].std() == pytest.approx(np.sqrt(2 / 128), rel=0.03)


def test_a_block_may_have_no_biases() -> None:
    bare = functools.partial(Attention, query_bias=False, key_bias=False, value_bias=False, out_bias=False)
    params = TransformerBlock(2, attention=bare, mlp_bias=False).init(jax.random.key(0), X)["params"]
    assert {name: set(params[name]) for name in ("mlp_in", "mlp_out")} == {"mlp_in": {"kernel"}, "mlp_out": {"kernel"}}
    assert all(set(p) == {"kernel"} for p in params["attention"].values())


def test_intermediate_values_are_seen_unless_a_loop_is_asked_for() -> None:
    model = Transformer(2, 2)
    params = filled(model, X)
    y, seen = model.apply(params, X, capture_intermediates=True, mutable=["intermediates", "attention"])
    np.testing.assert_allclose(y, model.apply(params, X), rtol=1e-5, atol=1e-5)
    for i in range(2):
        assert seen["intermediates"][f"block_{i}"]["mlp_out"]["__call__"][0].shape == X.shape
        np.testing.assert_allclose(seen["attention"][f"block_{i}"]["attention"]["weights"][0].sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(seen["intermediates"]["block_1"]["__call__"][0], y)
    hidden = Transformer(2, 2, loop=True).apply(params, X, mutable=["attention"])[1]
    assert not hidden


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
