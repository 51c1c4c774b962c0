"""MADE: what a pixel depends on, by gradients; probabilities that sum to one, by enumeration; draws one pixel at a time."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from parameters import filled

from jaxgen.errors import SizeError
from jaxgen.models.autoregressive import MADE
from jaxgen.models.autoregressive.made import draw_degrees

IMAGE = (2, 3, 1)
ALL = jnp.array(list(itertools.product([0.0, 1.0], repeat=6))).reshape(-1, *IMAGE)
MODELS = {
    "one layer": MADE(IMAGE, (40,)),
    "two layers, no direct connections": MADE(IMAGE, (40, 30), direct=False),
    "rows, masks known": MADE(IMAGE, (40, 30), raster=True, orders=False, condition=True),
}
SETS = range(4)


def variables_of(model: MADE) -> Any:
    return filled(model, ALL[:1])


@pytest.mark.parametrize("name", MODELS)
def test_a_pixel_depends_on_those_before_it_in_the_order_and_on_no_other(name: str) -> None:
    model = MODELS[name]
    variables, x = variables_of(model), jnp.full((1, *IMAGE), 0.3)
    jacobian = jax.jit(jax.jacrev(lambda x, number: model.apply(variables, x, number)[0].reshape(6)))
    for number in SETS:
        found = np.asarray(jacobian(x, number)).reshape(6, 6) != 0
        places = np.asarray(model.degrees(number).pixels)
        assert sorted(places) == list(range(6))
        assert not found[places[:, None] <= places[None]].any()
        if model.direct:  # and on all of them
            np.testing.assert_array_equal(found, places[:, None] > places[None])


@pytest.mark.parametrize("name", MODELS)
def test_the_probabilities_of_all_images_sum_to_one(name: str) -> None:
    model = MODELS[name]
    variables = variables_of(model)

    def total(number: Any) -> jax.Array:
        logits = model.apply(variables, ALL, number)
        return jnp.exp((ALL * logits - jax.nn.softplus(logits)).sum((1, 2, 3))).sum()

    np.testing.assert_allclose(jax.jit(lambda: lax.map(total, jnp.arange(8)))(), 1.0, rtol=1e-5)


def test_degrees_are_uniform_from_the_least_of_the_layer_before() -> None:
    one, two = jax.random.split(jax.random.key(4))
    degrees = draw_degrees(one, two, 5, (4000, 3, 4000))
    counts = np.bincount(np.asarray(degrees.hidden[0]), minlength=4)
    assert len(counts) == 4
    np.testing.assert_allclose(counts, 1000, atol=4 * np.sqrt(750))
    least = int(degrees.hidden[1].min())
    assert np.unique(degrees.hidden[2]).tolist() == list(range(least, 4))
    assert least > 0  # of this key: all units of the last layer see some pixel


@pytest.mark.parametrize(("orders", "connectivities"), [(True, False), (False, True), (True, True), (False, False)])
def test_sets_differ_in_what_the_model_is_agnostic_of(orders: bool, connectivities: bool) -> None:
    model = MADE((4, 4, 1), (30,), orders=orders, connectivities=connectivities)
    first, second = model.degrees(0), model.degrees(1)
    assert np.array_equal(first.pixels, second.pixels) != orders
    assert np.array_equal(first.hidden[0], second.hidden[0]) != connectivities
    together = model.degrees(jnp.array([1, 0]))
    np.testing.assert_array_equal(together.pixels, [second.pixels, first.pixels])
    assert not np.array_equal(MADE((4, 4, 1), (30,), seed=1).degrees(0).pixels, first.pixels)


def test_the_order_of_the_rows() -> None:
    assert MADE((2, 2, 1), (3,), raster=True).degrees(5).pixels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["rows, masks known", "one layer"])
def test_place_by_place_the_logits_are_those_of_the_full_pass_with_a_set_for_each_image(name: str) -> None:
    model = MODELS[name]
    variables, x, number = variables_of(model), ALL[jnp.array([5, 22, 63])], jnp.array([2, 0, 2])
    places = model.degrees(number).pixels
    by_place = jnp.take_along_axis(x.reshape(3, 6), jnp.argsort(places, axis=1), axis=1)
    before = jnp.concatenate([jnp.ones((3, 1)), by_place[:, :-1]], axis=1)

    def at(cache: Any, xs: Any) -> Any:
        logits, cache = model.apply(variables, xs[0], cache, xs[1], method="step")
        return cache, logits

    _, found = lax.scan(at, model.init_cache(3, (2, 3), number), (before.T.astype(jnp.int32), jnp.arange(6)))
    assert not found[..., 0].any()
    full = jnp.stack([model.apply(variables, x[i : i + 1], int(number[i]))[0] for i in range(3)])
    np.testing.assert_allclose(model.in_place(found[..., 1].T, number).reshape(x.shape), full, atol=1e-5)
    np.testing.assert_allclose(model.apply(variables, x, number), full, atol=1e-5)
    np.testing.assert_array_equal(model.in_place(by_place, number), x.reshape(3, 6))


def test_layers_that_know_their_masks_add_a_second_masked_kernel() -> None:
    told, plain = MADE(IMAGE, (7,), condition=True), MADE(IMAGE, (7,))
    variables = variables_of(told)
    params = variables["params"]
    extra = {"layers_0": 6 * 7, "out": 7 * 6}
    assert {name: params[name]["condition"].size for name in extra} == extra
    assert "condition" not in params["straight"]
    degrees = told.degrees(1)
    mask = jnp.float32(degrees.pixels[:, None] <= degrees.hidden[0])
    moved = jax.tree.map(lambda p: p, {k: {n: v for n, v in layer.items() if n != "condition"} for k, layer in params.items()})
    moved["layers_0"]["bias"] = moved["layers_0"]["bias"] + (params["layers_0"]["condition"] * mask).sum(0)
    mask = jnp.float32(degrees.hidden[0][:, None] < degrees.pixels)
    moved["out"]["bias"] = moved["out"]["bias"] + (params["out"]["condition"] * mask).sum(0)
    np.testing.assert_allclose(told.apply(variables, ALL, 1), plain.apply({"params": moved}, ALL, 1), atol=1e-5)


def test_computing_in_bfloat16_keeps_parameters_and_logits_in_float32() -> None:
    model = MADE(IMAGE, (7,), dtype=jnp.bfloat16)
    variables = variables_of(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    found = model.apply(variables, ALL)
    assert found.dtype == jnp.float32
    exact = model.clone(dtype=jnp.float32).apply(variables, ALL)
    np.testing.assert_allclose(found, exact, atol=0.1)
    assert not np.array_equal(found, exact)


def test_images_of_another_shape_or_of_one_pixel_are_refused() -> None:
    model = MODELS["one layer"]
    with pytest.raises(SizeError, match="A MADE of images of 2x3x1 got images of 3x2x1; make it"):
        model.apply(variables_of(model), jnp.zeros((1, 3, 2, 1)))
    with pytest.raises(SizeError, match="An image of 1 pixel has no order; take images of two pixels or more"):
        MADE((1, 1, 1), (3,)).degrees(0)
