"""Pooling against Flax's and by hand; what PyTorch does at the borders is in tests/peers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.errors import SizeError
from jaxgen.nn import adaptive_avg_pool, avg_pool, max_pool

CASES = [
    ((2, 2), (2, 2), "VALID"),
    ((3, 3), (2, 2), "SAME"),
    ((3, 2), (1, 2), "SAME"),
    ((2, 2), (3, 3), "VALID"),
    ((3, 3), (2, 2), ((1, 1), (0, 2))),
]


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize(("window", "strides", "padding"), CASES)
@pytest.mark.parametrize("kind", ["max", "avg", "avg without padding"])
def test_pooling_and_its_gradient_are_flaxs(kind, window, strides, padding, backend, monkeypatch) -> None:
    x = jax.nn.relu(normal(2, 7, 8, 3))  # with ties
    ours, theirs = {
        "max": (max_pool, nn.max_pool),
        "avg": (avg_pool, nn.avg_pool),
        "avg without padding": (
            lambda *a: avg_pool(*a, count_include_pad=False),
            lambda *a: nn.avg_pool(*a, count_include_pad=False),
        ),
    }[kind]
    with jax.numpy_dtype_promotion("standard"):  # Flax divides by whole numbers
        expected, pull = jax.vjp(lambda x: theirs(x, window, strides, padding), x)
    dy = normal(*expected.shape, seed=1)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    found, pull_ours = jax.vjp(lambda x: ours(x, window, strides, padding), x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pull_ours(dy)[0], pull(dy)[0], rtol=1e-5, atol=1e-6)


def test_the_strides_are_those_of_the_window_by_default() -> None:
    assert max_pool(normal(1, 6, 6, 1), (3, 2)).shape == (1, 2, 3, 1)


def test_a_nan_is_seen() -> None:
    for i in range(4):
        x = normal(1, 2, 2, 1).at[0, i // 2, i % 2, 0].set(jnp.nan)
        assert np.isnan(max_pool(x, (2, 2))).all()
        assert np.isnan(avg_pool(x, (2, 2))).all()


def test_half_precision_is_summed_in_float32() -> None:
    x = (1 + normal(1, 16, 16, 2)).astype(jnp.bfloat16)
    exact = np.asarray(x, np.float64).mean((1, 2), keepdims=True)
    for pooled in (avg_pool(x, (16, 16)), adaptive_avg_pool(x, (1, 1))):
        assert pooled.dtype == jnp.bfloat16
        np.testing.assert_allclose(pooled.astype(jnp.float32), exact, rtol=2**-8)


def test_adaptive_pooling_of_sides_that_divide_is_pooling() -> None:
    x = normal(2, 6, 8, 3)
    np.testing.assert_allclose(adaptive_avg_pool(x, (3, 2)), avg_pool(x, (2, 4)), rtol=1e-5, atol=1e-6)


def test_a_window_larger_than_the_maps_is_refused() -> None:
    with pytest.raises(SizeError, match="A window of 4x4 does not fit into maps of 3x3"):
        max_pool(normal(1, 3, 3, 1), (4, 4), ceil_mode=True)
