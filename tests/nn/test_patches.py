"""Patches: what is cut, and that it can be put together again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.nn import Conv, PatchEmbedding, from_patches, to_patches

X = normal(2, 6, 8, 3)


def test_patches_are_the_squares_row_by_row() -> None:
    patches = to_patches(X, 2)
    assert patches.shape == (2, 12, 12)
    for row in range(3):
        for column in range(4):
            square = X[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(patches[:, 4 * row + column], square.reshape(2, -1))
    np.testing.assert_array_equal(from_patches(patches, (3, 4), 2), X)


def test_an_embedding_is_a_convolution_and_a_product() -> None:
    layer = PatchEmbedding(5, 2)
    variables = filled(layer, X)
    y = layer.apply(variables, X)
    kernel = variables["params"]["kernel"].reshape(-1, 5)
    np.testing.assert_allclose(y, to_patches(X, 2) @ kernel + variables["params"]["bias"], rtol=1e-5, atol=1e-5)
    convolution = Conv(5, (2, 2), (2, 2), "VALID")
    np.testing.assert_array_equal(y, convolution.apply(variables, X).reshape(2, 12, 5))
    jax.tree.map(np.testing.assert_array_equal, *(m.init(jax.random.key(0), X) for m in (layer, convolution)))
    assert set(PatchEmbedding(5, 2, use_bias=False).init(jax.random.key(0), X)["params"]) == {"kernel"}
    assert PatchEmbedding(5, 2, dtype=jnp.bfloat16).apply(variables, X).dtype == jnp.bfloat16


def test_sizes_that_do_not_go_together_are_refused() -> None:
    for call in (lambda: to_patches(X, 4), lambda: PatchEmbedding(5, 4).init(jax.random.key(0), X)):
        with pytest.raises(ValueError, match="6x8 cannot be cut into patches of 4x4"):
            call()
    for grid, patch in (((4, 4), 2), ((3, 4), 5)):
        with pytest.raises(ValueError, match=f"no grid of {grid[0]}x4"):
            from_patches(to_patches(X, 2), grid, patch)
