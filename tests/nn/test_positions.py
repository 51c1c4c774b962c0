"""Positions: the formulas, what a class token keeps, and displacements counted one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.nn import (
    Attention,
    LearnedPositions,
    RelativePositionBias,
    bicubic,
    bilinear,
    bilinear_between_corners,
    interpolate,
    relative_positions,
    resized_positions,
    sinusoidal,
    sinusoidal_2d,
)


@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_a_resized_table_keeps_its_tokens_and_interpolates_its_grid(tokens: int) -> None:
    table = normal(6 + tokens, 4)
    new = resized_positions(table, (2, 3), (4, 5), bilinear, tokens=tokens)
    np.testing.assert_array_equal(new[:tokens], table[:tokens])
    grid = interpolate(table[tokens:].reshape(2, 3, 4), (4, 5), bilinear)
    np.testing.assert_allclose(new[tokens:].reshape(4, 5, 4), grid, atol=1e-6)
    assert resized_positions(table, (2, 3), (2, 3), bilinear, tokens=tokens) is table
    with pytest.raises(ValueError, match="does not fit a grid of 3x3"):
        resized_positions(table, (3, 3), (4, 5), bilinear, tokens=tokens)


def test_learned_positions_of_their_own_grid_and_of_another() -> None:
    layer = LearnedPositions(4, (2, 3), tokens=1)
    variables = layer.init(jax.random.key(0))
    table = variables["params"]["table"]
    np.testing.assert_array_equal(layer.apply(variables), table)
    expected = resized_positions(table, (2, 3), (5, 5), bilinear_between_corners, tokens=1)
    np.testing.assert_array_equal(layer.apply(variables, (5, 5)), expected)
    assert layer.clone(dtype=jnp.bfloat16).apply(variables).dtype == jnp.bfloat16
    assert LearnedPositions(400, (8, 8)).init(jax.random.key(0))["params"]["table"].std() == pytest.approx(0.02, rel=0.03)


def test_sines_and_cosines_of_columns_then_of_rows() -> None:
    x = np.float64(sinusoidal_2d((3, 4), 8, period=100.0, tokens=2))
    assert not x[:2].any()
    for row in range(3):
        for column in range(4):
            waves = [wave(place * f) for place in (column, row) for wave in (np.sin, np.cos) for f in (1, 100**-0.5)]
            np.testing.assert_allclose(x[2 + 4 * row + column], waves, atol=1e-6)


def test_with_both_ends_they_are_the_sinusoidal_ones_of_each_axis() -> None:
    ours = sinusoidal_2d((3, 4), 16, endpoint=True)
    columns, rows = jnp.tile(jnp.arange(4.0), 3), jnp.repeat(jnp.arange(3.0), 4)
    expected = jnp.concatenate([sinusoidal(columns, 8), sinusoidal(rows, 8)], axis=1)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize(("features", "endpoint"), [(6, False), (0, False), (4, True)])
def test_features_that_two_axes_cannot_share_are_refused(features: int, endpoint: bool) -> None:
    with pytest.raises(ValueError, match="multiple of four"):
        sinusoidal_2d((2, 2), features, endpoint=endpoint)


@pytest.mark.parametrize("grid", [(2, 3), (1, 4), (3, 3)])
def test_pairs_have_one_number_exactly_if_they_have_one_displacement(grid: tuple[int, int]) -> None:
    index = relative_positions(grid, class_token=True)
    places = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
    number: dict = {}
    for i, query in enumerate(places):
        for j, key in enumerate(places):
            displacement = (query[0] - key[0], query[1] - key[1])
            assert number.setdefault(displacement, index[1 + i, 1 + j]) == index[1 + i, 1 + j]
    count = (2 * grid[0] - 1) * (2 * grid[1] - 1)
    assert [number[d] for d in sorted(number)] == list(range(count))
    assert (index[0, 1:] == count).all()
    assert (index[1:, 0] == count + 1).all()
    assert index[0, 0] == count + 2
    np.testing.assert_array_equal(relative_positions(grid), index[1:, 1:])


def test_a_bias_moves_with_the_patches() -> None:
    layer = RelativePositionBias(2, (3, 4))
    variables = filled(layer)
    bias = layer.apply(variables).reshape(2, 3, 4, 3, 4)
    np.testing.assert_array_equal(bias[:, 1:, 1:, 1:, 1:], bias[:, :-1, :-1, :-1, :-1])
    assert len(np.unique(bias[0])) == 5 * 7
    assert not np.any(layer.init(jax.random.key(0))["params"]["table"])
    attention, x = Attention(2), normal(2, 12, 8)
    assert attention.apply(filled(attention, x), x, bias=layer.apply(variables)).shape == x.shape


def test_the_bias_of_another_grid_interpolates_displacements_and_keeps_those_of_the_class_token() -> None:
    layer = RelativePositionBias(2, (3, 4), class_token=True)
    variables = filled(layer)
    table = variables["params"]["table"]
    assert table.shape == (5 * 7 + 3, 2)
    new = layer.apply(variables, (6, 5))
    assert new.shape == (1, 2, 31, 31)
    displacements = interpolate(table[:35].reshape(5, 7, 2), (11, 9), bicubic).reshape(99, 2)
    index = relative_positions((6, 5))
    np.testing.assert_allclose(new[0, :, 1:, 1:], displacements[index].transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(new[0, :, 0, 1], table[35])
    np.testing.assert_array_equal(new[0, :, 1, 0], table[36])
    np.testing.assert_array_equal(new[0, :, 0, 0], table[37])
    np.testing.assert_array_equal(layer.apply(variables)[0, :, 0, 0], table[37])
