"""PixelSNAIL: what a position depends on, by gradients and by sets; the same logits step by step; the grid above."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.test_autoregressive import grids, stepped
from parameters import filled, normal

from jaxgen import samplers
from jaxgen.errors import InputError, SizeError
from jaxgen.models.autoregressive import PixelSNAIL
from jaxgen.models.autoregressive.causal import CausalAttention, CausalConv
from jaxgen.nn import Conv, KVCache

K, GRID = 3, (4, 5)
MODEL = PixelSNAIL(K, 8, 6, 3, blocks=1, residuals=1, heads=2, dropout=0.0)
BOTTOM = MODEL.clone(attention=False, above=4, residuals_above=1, classes=2)
ABOVE = jnp.array(np.random.default_rng(1).integers(0, 4, (3, 2, 3)), jnp.int32)
"""Enlarged to 4x6, of which five columns are left."""


def dependence(model: PixelSNAIL, grid: tuple[int, int] = GRID) -> np.ndarray:
    """Whether the logits of each position (row) depend on the vector of each position's code, by reverse mode."""
    codes = grids(1, grid)
    variables = filled(model, codes)

    def logits(moves: jax.Array) -> jax.Array:
        def moved(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            y = call(*args, **kwargs)
            return y + moves if context.method_name == "vectors" else y

        with nn.intercept_methods(moved):
            return model.apply(variables, codes)[0]

    n = grid[0] * grid[1]
    jacobian = jax.jit(jax.jacrev(logits))(jnp.zeros((*grid, K)))
    return np.asarray(jacobian != 0).any((2, 5)).reshape(n, n)


def reached(model: PixelSNAIL, grid: tuple[int, int] = GRID) -> np.ndarray:
    """The codes that reach each position, as sets that are handed from layer to layer."""
    places, half = list(np.ndindex(*grid)), model.kernel // 2

    def seen(maps: Any, offsets: list[tuple[int, int]]) -> Any:
        return {(r, c): set().union(*(maps.get((r + i, c + j), set()) for i, j in offsets)) for r, c in places}

    def joined(*maps: Any) -> Any:
        return {p: set().union(*(m[p] for m in maps)) for p in places}

    own = {p: {p} for p in places}
    above = [(i, j) for i in range(-half, 0) for j in range(-half, half + 1)]
    left = [(i, j) for i in range(-half, 1) for j in range(-half, 0)]
    causal = [(i, j) for i in range(1 - model.kernel, 0) for j in range(-half, half + 1)] + [(0, j) for j in range(-half, 0)]
    h = seen(own, above + left)
    for _ in range(model.blocks):
        before = h
        for _ in range(model.residuals):
            h = joined(h, seen(seen(h, causal), causal))
        if model.attention:
            h = {p: h[p].union(*(before[q] | h[q] for q in places if q < p)) for p in places}
    return np.array([[q in h[p] for q in places] for p in places])


@pytest.mark.parametrize("attention", [True, False])
def test_a_position_depends_on_what_its_kernels_and_its_attention_reach_and_on_nothing_after_it(attention: bool) -> None:
    model = MODEL.clone(attention=attention)
    found, places = dependence(model), np.arange(20)
    assert not found[places[:, None] <= places].any()
    np.testing.assert_array_equal(found, reached(model))
    # The last code of a row is out of sight of the first three positions of the next one.
    assert not attention or found.sum() == 190 - 3 * 3


def test_a_causal_convolution_sees_all_before_it_within_its_kernel_and_not_itself() -> None:
    layer, x = CausalConv(2, 3), normal(1, 4, 4, 2)
    variables = filled(layer, x)
    jacobian = jax.jit(jax.jacrev(lambda x: layer.apply(variables, x)[0, 3, 2]))(x)
    seen = (np.asarray(jacobian)[:, 0] != 0).any((0, 3))
    assert seen.astype(int).tolist() == [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 0, 0]]
    # The length of the kernel is that of what the mask leaves.
    inner = variables["params"]["conv"]["layer"]
    kernel = np.asarray(inner["layer"]["kernel"]).copy()
    kernel[-1, 1:] = 0
    kernel *= np.asarray(inner["scale"]) / np.sqrt((kernel**2).sum((0, 1, 2)))
    plain = Conv(2, (3, 3), padding="VALID").apply(
        {"params": {"kernel": jnp.asarray(kernel), "bias": inner["layer"]["bias"]}},
        jnp.pad(x, ((0, 0), (2, 0), (1, 1), (0, 0))),
    )
    np.testing.assert_allclose(layer.apply(variables, x), plain, atol=1e-5)


def test_the_first_position_gets_nothing_of_the_attention_and_the_second_the_value_of_the_first() -> None:
    layer, x, context = CausalAttention(4, 2), normal(2, 2, 2, 3), normal(2, 2, 2, 5, seed=1)
    variables = filled(layer, x, context)
    y = layer.apply(variables, x, context)
    np.testing.assert_array_equal(y[:, 0, 0], 0)
    value = layer.bind(variables).value(context)
    np.testing.assert_allclose(y[:, 0, 1], value[:, 0, 0], atol=1e-6)
    grads = jax.grad(lambda c: layer.apply(variables, x, c).sum())(context)
    assert np.isfinite(grads).all()
    assert not grads[:, 1, 1].any()
    assert isinstance(layer.init_cache(2, 4), KVCache)


@pytest.mark.parametrize(("model", "told"), [(MODEL, ()), (BOTTOM, (jnp.array([0, 1, 1]), ABOVE))], ids=["top", "bottom"])
def test_step_by_step_the_logits_are_those_of_the_full_pass(model: PixelSNAIL, told: Any) -> None:
    codes = grids(3)
    variables = filled(model, codes, *told)
    full = jax.jit(model.apply)(variables, codes, *told)

    class Started:
        """The model with its cache, which holds what the grid above says."""

        apply = model.apply

        def init_cache(self, n: int, grid: tuple[int, int]) -> Any:
            return model.apply(variables, n, grid, *told[1:], method="init_cache")

    steps = jax.jit(functools.partial(stepped, Started()))(variables, codes, *told[:1])
    np.testing.assert_allclose(steps, full, atol=1e-5)
    if told:
        other = jax.jit(model.apply)(variables, codes, told[0], told[1].at[0, 1, 2].set((told[1][0, 1, 2] + 1) % 4))
        moved = np.abs(np.asarray(other - full)).max(-1)
        assert moved[0, 2:, 4].min() > 1e-5  # below the code that has changed
        assert not moved[1:].any()


def test_the_grid_above_is_enlarged_to_the_nearest_and_cut() -> None:
    variables = filled(BOTTOM, grids(3), jnp.zeros(3, jnp.int32), ABOVE)
    bound = BOTTOM.bind(variables)
    maps = bound.condition(ABOVE, GRID)
    small = bound.condition(ABOVE, (2, 3))
    np.testing.assert_array_equal(maps, small.repeat(2, axis=1).repeat(2, axis=2)[:, :, :5])
    assert np.isnan(bound.condition(ABOVE.at[0].set(4), GRID)[0]).any()


def test_the_coordinates_are_shares_of_the_grid_about_its_middle() -> None:
    found = MODEL.background((4, 2))
    np.testing.assert_allclose(found[0, :, 0, 0], [-0.5, -0.25, 0.0, 0.25])
    np.testing.assert_allclose(found[0, 0, :, 1], [-0.5, 0.0])


def test_values_are_dropped_in_training_alone_and_parameters_stay_float32() -> None:
    codes, dropping = grids(1), MODEL.clone(dropout=0.5, dtype=jnp.bfloat16)
    variables = filled(dropping, codes)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    logits = jax.jit(dropping.apply)(variables, codes)
    train = jax.jit(lambda key: dropping.apply(variables, codes, train=True, rngs={"dropout": key}))
    a, b = (train(jax.random.key(i)) for i in range(2))
    assert logits.dtype == jnp.float32
    full = jax.jit(MODEL.apply)(variables, codes)
    assert 0 < np.abs(logits - full).max() < 0.05 * np.abs(full).max()
    assert np.abs(a - b).max() > 0.01


def test_samples_given_a_grid_above_follow_the_models_law() -> None:
    """Of one row of two codes, whose nine rows are enumerated."""
    model = PixelSNAIL(3, 4, 4, 3, 1, 1, False, above=4, residuals_above=1, dropout=0.0)
    rows = jnp.array([[[i, j]] for i in range(3) for j in range(3)], jnp.int32)
    above = jnp.array([[[2]]])
    variables = filled(model, rows, None, above.repeat(9, 0))
    variables = jax.tree.map(lambda p: 1.5 * p, variables)
    logits = np.asarray(model.apply(variables, rows, None, above.repeat(9, 0)), np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    law = np.exp([logs[n, 0, 0, i] + logs[n, 0, 1, j] for n, (i, j) in enumerate(np.asarray(rows)[:, 0])])
    assert law.sum() == pytest.approx(1, abs=1e-5)
    draws = 4000
    decoder = samplers.decoder_of(model, {"prior": variables["params"]}, {}, above=above.repeat(draws, 0), name="prior")
    drawn = np.asarray(jax.jit(lambda key: samplers.autoregressive(decoder, key, (draws, 1, 2)))(jax.random.key(0)))
    shares = np.bincount(drawn[:, 0, 0] * 3 + drawn[:, 0, 1], minlength=9) / draws
    assert np.abs(shares - law).max() < 4 * 0.5 / np.sqrt(draws)
    assert np.ptp(law) > 0.1


def test_what_does_not_go_together_is_refused() -> None:
    key, codes = jax.random.key(0), grids(3)
    with pytest.raises(InputError, match="made for 4 codes of a grid above and got none; give both"):
        jax.eval_shape(BOTTOM.init, key, codes, jnp.zeros(3, jnp.int32))
    with pytest.raises(InputError, match="made for no grid above and got one"):
        jax.eval_shape(MODEL.init, key, codes, None, ABOVE)
    with pytest.raises(InputError, match="got no labels"):
        jax.eval_shape(BOTTOM.init, key, codes, None, ABOVE)
    with pytest.raises(SizeError, match="A causal kernel of 4 has no middle"):
        jax.eval_shape(MODEL.clone(kernel=4).init, key, codes)
    with pytest.raises(SizeError, match="4 channels cannot be cut into 3 heads"):
        jax.eval_shape(MODEL.clone(heads=3).init, key, codes)
