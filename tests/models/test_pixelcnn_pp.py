"""PixelCNN++: what a pixel depends on, by gradients; the U of its scales; classes; the size of the paper's network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.errors import InputError, SizeError
from jaxgen.models.autoregressive import PixelCNNPlusPlus, pixelcnn_pp_cifar10
from jaxgen.models.autoregressive.pixelcnn_pp import ShiftedConv, ShiftedConvTranspose, concatenated_elu
from jaxgen.nn import Conv, LogisticMixtureLikelihood

HEAD = LogisticMixtureLikelihood(2, levels=16)
MODEL = PixelCNNPlusPlus(HEAD, 4, blocks=1, scales=2, dropout=0.0)
X = jnp.tanh(normal(2, 4, 6, 1))


def by_pixel(law: Any) -> Any:
    """All numbers of the mixture of each pixel."""
    parts = (law.logits, law.loc, law.log_scale)
    return jnp.concatenate([part.reshape(*part.shape[:3], -1) for part in parts], axis=-1)


def test_a_pixel_depends_on_all_pixels_before_it_that_its_kernels_reach_and_on_no_other() -> None:
    variables = filled(MODEL, X[:1])
    jacobian = jax.jit(jax.jacrev(lambda x: by_pixel(MODEL.apply(variables, x))[0]))(X[:1])
    found = np.asarray(jacobian != 0).any((2, 3, 6)).reshape(24, 24)
    places = np.arange(24)
    assert not found[places[:, None] <= places].any()
    rows, columns = places // 6, places % 6
    # The neighbours to the left and above, and the far ones by way of the smaller maps.
    near = (rows[:, None] == rows) & (columns[:, None] == columns + 1) | (rows[:, None] == rows + 1) & (
        columns[:, None] == columns
    )
    assert found[near].all()
    right = (rows[:, None] == rows + 1) & (columns[:, None] == columns - 1)
    assert found[right].all()
    assert found[23].sum() > 20


@pytest.mark.parametrize(("right", "seen"), [(False, [[1, 1, 1, 0], [1, 1, 1, 0]]), (True, [[1, 1, 0, 0], [1, 1, 0, 0]])])
def test_a_shifted_convolution_sees_its_own_row_and_those_above(right: bool, seen: list[list[int]]) -> None:
    layer, x = ShiftedConv(2, (2, 2 if right else 3), right), normal(1, 3, 4, 1)
    variables = filled(layer, x)
    jacobian = jax.jit(jax.jacrev(lambda x: layer.apply(variables, x)[0, 1, 1]))(x)
    found = (np.asarray(jacobian)[:, 0] != 0).any((0, 3)).astype(int)
    assert found.tolist() == [*seen, [0, 0, 0, 0]]


@pytest.mark.parametrize("right", [False, True])
def test_doubling_undoes_halving_without_looking_ahead(right: bool) -> None:
    kernel = (2, 2 if right else 3)
    half, double, x = ShiftedConv(2, kernel, right, 2), ShiftedConvTranspose(2, kernel, right), normal(1, 4, 4, 1)
    first = filled(half, x)
    second = filled(double, half.apply(first, x))

    def both(x: jax.Array) -> jax.Array:
        return double.apply(second, half.apply(first, x))[0, :, :, 0]

    assert both(x).shape == (4, 4)
    found = np.asarray(jax.jit(jax.jacrev(both))(x))[:, :, 0, :, :, 0] != 0
    rows, columns = np.indices((4, 4))
    below = rows[:, :, None, None] < rows
    ahead = (rows[:, :, None, None] == rows) & (columns[:, :, None, None] < columns)
    assert not found[below].any()
    assert found[2, 2, 1:3, 2].all()
    assert found[3, 3, 1:3, 2].all()
    if right:
        assert not found[ahead].any()


def test_the_streams_meet_as_the_two_shifted_inputs_do() -> None:
    """Of a model without blocks and scales, by plain convolutions."""
    model = MODEL.clone(blocks=0, scales=1)
    variables = filled(model, X)
    params = variables["params"]
    assert sorted(params) == ["first_above", "first_left", "first_row", "out"]
    padded = jnp.concatenate([X, jnp.ones_like(X)], axis=-1)

    def conv(name: str, pads: Any) -> Any:
        layer = params[name]["conv"]["layer"]
        kernel = layer["kernel"]
        length = jnp.sqrt((kernel**2).sum((0, 1, 2)))
        wide = jnp.pad(padded, ((0, 0), pads[0], pads[1], (0, 0)))
        plain = Conv(4, kernel.shape[:2], padding="VALID")
        return plain.apply({"params": {"kernel": kernel * params[name]["conv"]["scale"] / length, "bias": layer["bias"]}}, wide)

    row, left = conv("first_row", ((0, 0), (1, 1))), conv("first_left", ((1, 0), (0, 0)))
    h = np.zeros((2, 4, 6, 4), np.float32)
    h[:, 1:] += row[:, :-1]
    h[:, :, 1:] += left[:, :, :-1]
    kernel = params["out"]["layer"]["kernel"][0, 0]
    raw = jax.nn.elu(h) @ (kernel * params["out"]["scale"] / jnp.sqrt((kernel**2).sum(0))) + params["out"]["layer"]["bias"]
    found = model.apply(variables, X)
    np.testing.assert_allclose(found.logits, raw[..., :2], atol=1e-5)
    assert found.levels == 16


def test_a_class_reaches_every_pixel_and_is_asked_for() -> None:
    model = MODEL.clone(classes=3, scales=1)
    variables = filled(model, X, jnp.array([0, 1]))
    call = jax.jit(lambda label: by_pixel(model.apply(variables, jnp.repeat(X[:1], 2, 0), label)))
    found = call(jnp.array([0, 2]))
    assert (jnp.abs(found[0] - found[1]).max(-1) > 1e-5).all()
    with pytest.raises(InputError, match="made for 3 classes and got no labels"):
        model.apply(variables, X)


def test_values_are_dropped_in_training_alone_and_parameters_stay_float32() -> None:
    dropping = MODEL.clone(scales=1, dropout=0.5, dtype=jnp.bfloat16)
    variables = filled(dropping, X)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    trained = jax.jit(lambda key: dropping.apply(variables, X, train=True, rngs={"dropout": key}).loc)
    once, again, other = (trained(jax.random.key(i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
    assert once.dtype == jnp.float32


def test_sides_that_do_not_halve_are_refused() -> None:
    with pytest.raises(SizeError, match=r"Sides of 4x6 are not halved evenly by 3 scales; .* whose sides 4 divides"):
        jax.eval_shape(MODEL.clone(scales=3).init, jax.random.key(0), X)


def test_concatenated_elu_has_twice_the_channels() -> None:
    x = normal(2, 3)
    np.testing.assert_allclose(concatenated_elu(x), np.concatenate([jax.nn.elu(x), jax.nn.elu(-x)], -1))


@pytest.mark.slow
def test_the_papers_network_has_as_many_parameters_as_the_authors() -> None:
    """Counted by hand: convolutions with their lengths and biases."""
    shapes = jax.eval_shape(pixelcnn_pp_cifar10().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))

    def conv(inputs: int, outputs: int, area: int) -> int:
        return inputs * outputs * area + 2 * outputs

    c = 160
    above, left = (conv(2 * c, c, n) + conv(2 * c, 2 * c, n) for n in (6, 4))
    down = above + left + conv(2 * c, c, 1)
    up = above + left + conv(2 * c, c, 1) + conv(4 * c, c, 1)
    total = 15 * down + 17 * up + 4 * (conv(c, c, 6) + conv(c, c, 4))
    total = total + conv(4, c, 6) + conv(4, c, 3) + conv(4, c, 2) + conv(c, 100, 1)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == total
