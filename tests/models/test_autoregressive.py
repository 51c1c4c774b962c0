"""Autoregressive models of grids: what a position depends on, by gradients, and the same logits step by step."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from parameters import filled

from jaxgen.errors import InputError, SizeError
from jaxgen.models.autoregressive import GatedPixelCNN, TransformerPrior, image_of, levels_of

GRID, K = (4, 5), 3
PLACES = np.arange(20)
BEFORE = PLACES[None] < PLACES[:, None]  # by position (row): those before it
PIXELCNN = GatedPixelCNN(K, 4, dilations=(1, 2), first_kernel=5, embedding=4)
TRANSFORMER = TransformerPrior(K, GRID, width=8, depth=2, heads=2)
CONDITIONAL = [PIXELCNN.clone(classes=2, head=6), TRANSFORMER.clone(classes=2)]
MODELS = pytest.mark.parametrize("model", [PIXELCNN, TRANSFORMER], ids=["pixelcnn", "transformer"])
TOLD = pytest.mark.parametrize("model", CONDITIONAL, ids=["pixelcnn", "transformer"])


def grids(n: int, grid: tuple[int, int] = GRID, k: int = K) -> jax.Array:
    return jnp.array(np.random.default_rng(0).integers(0, k, (n, *grid)), jnp.int32)


def dependence(model: nn.Module, grid: tuple[int, int] = GRID) -> np.ndarray:
    """Whether the logits of each position (row) depend on the vector of each position's code, by reverse mode."""
    codes, width = grids(1, grid), 4 if isinstance(model, GatedPixelCNN) else 8
    variables = filled(model, codes)

    def logits(moves: jax.Array) -> jax.Array:
        def moved(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            y = call(*args, **kwargs)
            if context.module.name != "embed":
                return y
            places = math.prod(y.shape[1:-1])  # a Transformer does not embed the last code at all
            return y + moves[:places].reshape(y.shape[1:])

        with nn.intercept_methods(moved):
            return model.apply(variables, codes)[0]

    jacobian = jax.jit(jax.jacrev(logits))(jnp.zeros((math.prod(grid), width)))
    return np.asarray(jacobian != 0).any((2, 4)).reshape(math.prod(grid), -1)


@MODELS
def test_a_position_depends_on_all_positions_before_it_and_on_no_other(model: nn.Module) -> None:
    np.testing.assert_array_equal(dependence(model), BEFORE)


def reached(dilations: tuple[int, ...], first: int, kernel: int, grid: tuple[int, int]) -> np.ndarray:
    """The codes that the kernels of a PixelCNN reach from each position, as sets that are handed from layer to layer."""

    def sets(maps: Any, rows: Any, columns: Any) -> Any:
        return {
            (r, c): set().union(*(maps.get((r + i, c + j), set()) for i in rows for j in columns)) for r, c in np.ndindex(*grid)
        }

    own, reach, half = {p: {p} for p in np.ndindex(*grid)}, first // 2, kernel // 2
    vertical = sets(own, range(-reach, 0), range(-reach, reach + 1))
    horizontal = sets(own, [0], range(-reach, 0))
    for d in dilations:
        left = range(-half * d, 1, d)
        vertical = sets(vertical, left, range(-half * d, half * d + 1, d))
        horizontal = {p: seen | vertical[p] for p, seen in sets(horizontal, [0], left).items()}
    return np.array([[q in horizontal[p] for q in np.ndindex(*grid)] for p in np.ndindex(*grid)])


@pytest.mark.parametrize(("dilations", "first", "kernel"), [((1,), 3, 3), ((3, 2), 5, 3), ((2,), 3, 5)])
def test_a_pixelcnn_depends_on_all_that_its_kernels_reach(dilations: tuple[int, ...], first: int, kernel: int) -> None:
    model = GatedPixelCNN(K, 4, dilations, first, kernel, embedding=4)
    np.testing.assert_array_equal(dependence(model, (5, 6)), reached(dilations, first, kernel, (5, 6)))


def stepped(model: nn.Module, variables: Any, codes: jax.Array, label: Any = None) -> jax.Array:
    """The logits of all positions, one after the other."""
    n, h, w = codes.shape
    before = jnp.concatenate([jnp.full((n, 1), K - 1), codes.reshape(n, -1)[:, :-1]], axis=1)  # the first has no effect

    def at(cache: Any, xs: Any) -> Any:
        logits, cache = model.apply(variables, xs[0], cache, xs[1], label, method="step")
        return cache, logits

    _, logits = lax.scan(at, model.init_cache(n, (h, w)), (before.T, jnp.arange(h * w)))
    return logits.swapaxes(0, 1).reshape(n, h, w, -1)


WIDE = GatedPixelCNN(K, 4, dilations=(1, 4, 2), first_kernel=7, kernel=5, embedding=2)  # beyond the grid in all directions


COLUMN = TRANSFORMER.clone(grid=(4, 1))


@pytest.mark.parametrize(
    ("model", "grid"), [(PIXELCNN, GRID), (WIDE, GRID), (WIDE, (4, 1)), (WIDE, (1, 4)), (TRANSFORMER, GRID), (COLUMN, (4, 1))]
)
def test_step_by_step_the_logits_are_those_of_the_full_pass(model: nn.Module, grid: tuple[int, int]) -> None:
    codes = grids(3, grid)
    variables = filled(model, codes)
    np.testing.assert_allclose(
        jax.jit(functools.partial(stepped, model))(variables, codes),
        jax.jit(model.apply)(variables, codes),
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_step_takes_a_fraction_of_the_work_of_a_full_pass() -> None:
    """The positions of a row share the pass of the vertical stack, and each computes its own of the horizontal one."""
    model, codes = GatedPixelCNN(K, 8, embedding=8), grids(1, (16, 16))
    shapes = jax.eval_shape(model.init, jax.random.key(0), codes)

    def work(call: Any, *given: Any) -> float:
        return jax.jit(call).lower(shapes, *given).compile().cost_analysis()["flops"]

    step = functools.partial(model.apply, method="step")
    assert work(step, codes[:, 0, 0], model.init_cache(1, (16, 16)), 0) < work(model.apply, codes) / 8


@TOLD
def test_a_class_reaches_every_position_in_both_passes(model: nn.Module) -> None:
    codes, label = jnp.repeat(grids(1), 2, axis=0), jnp.arange(2)
    variables = filled(model, codes, label)
    logits = jax.jit(model.apply)(variables, codes, label)
    np.testing.assert_allclose(
        jax.jit(functools.partial(stepped, model))(variables, codes, label), logits, rtol=1e-5, atol=1e-5
    )
    assert np.abs(logits[0] - logits[1]).max(-1).min() > 1e-4
    for wrong, given, words in ((model, (), "got no labels"), (model.clone(classes=0), (label,), "without classes")):
        with pytest.raises(InputError, match=words):
            wrong.init(jax.random.key(0), codes, *given)


@MODELS
def test_values_are_dropped_in_training_alone_and_parameters_stay_float32(model: nn.Module) -> None:
    codes, dropping = grids(1), model.clone(dropout=0.5, dtype=jnp.bfloat16)
    variables = filled(dropping, codes)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    with jax.numpy_dtype_promotion("standard"):  # within jax.nn.dot_product_attention
        logits = jax.jit(dropping.apply)(variables, codes)
        train = jax.jit(lambda key: dropping.apply(variables, codes, train=True, rngs={"dropout": key}))
        a, b = (train(jax.random.key(i)) for i in range(2))
        steps = jax.jit(functools.partial(stepped, dropping))(variables, codes)
    full = jax.jit(model.apply)(variables, codes)
    assert logits.dtype == steps.dtype == jnp.float32
    assert 0 < np.abs(logits - full).max() < 0.05 * np.abs(full).max()
    assert np.abs(steps - full).max() < 0.05 * np.abs(full).max()
    assert np.abs(a - b).max() > 0.01
    np.testing.assert_array_equal(jax.jit(functools.partial(model.apply, train=True))(variables, codes), full)


def test_sizes_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(SizeError, match="positions of a grid of 4x5 got one of 2x3"):
        TRANSFORMER.init(jax.random.key(0), grids(1, (2, 3)))
    with pytest.raises(SizeError, match="positions of a grid of 4x5 got one of 5x4"):
        TRANSFORMER.init_cache(1, (5, 4))
    for fields in ({"first_kernel": 4}, {"first_kernel": 1}, {"kernel": 2}):
        with pytest.raises(SizeError, match="take odd numbers"):
            GatedPixelCNN(K, 4, **fields).init(jax.random.key(0), grids(1))
    with pytest.raises(SizeError, match="257 levels"):
        levels_of(jnp.zeros((1, 1, 1, 1), jnp.uint8), 257)


@pytest.mark.parametrize("levels", [2, 3, 16, 256])
def test_levels_cut_the_bytes_into_equal_parts(levels: int) -> None:
    image = jnp.arange(256, dtype=jnp.uint8).reshape(2, 8, 16, 1)
    codes = levels_of(image, levels)
    np.testing.assert_array_equal(codes, levels_of(image.astype(jnp.float32) / 255, levels))
    counts = np.bincount(np.ravel(codes), minlength=levels)
    assert counts.max() - counts.min() <= 1
    assert (np.diff(np.ravel(codes)) >= 0).all()
    seen = image_of(codes, levels)
    assert seen.min() == 0
    assert seen.max() == 1
    assert np.abs(seen - image.astype(jnp.float32) / 255).max() <= 1 / levels
    np.testing.assert_array_equal(levels_of(seen, levels), codes)


def test_the_colours_of_a_pixel_lie_side_by_side() -> None:
    image = jnp.arange(24, dtype=jnp.uint8).reshape(1, 2, 4, 3)
    codes = levels_of(image)
    assert codes.shape == (1, 2, 12)
    assert codes[0, 1, :4].tolist() == [12, 13, 14, 15]
    np.testing.assert_array_equal(jnp.round(image_of(codes, colours=3) * 255), image)
