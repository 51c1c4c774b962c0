"""Dropout and stochastic depth: which values they leave, and how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.nn import drop_path, dropout

X = 1 + normal(4000, 3) ** 2
KEY = jax.random.key(0)


@pytest.mark.parametrize("rate", [0.1, 0.75])
def test_values_are_dropped_independently_at_the_rate_and_the_others_scaled(rate: float) -> None:
    y = dropout(X, rate, KEY)
    kept = y != 0
    np.testing.assert_allclose(y, jnp.where(kept, X / (1 - rate), 0), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / X.size)
    correlation = np.corrcoef(np.asarray(kept, np.float64).T)
    assert np.abs(correlation - np.eye(3)).max() < 4 / np.sqrt(len(X))


@pytest.mark.parametrize("rate", [0.1, 0.75])
def test_a_path_is_dropped_for_an_example_as_a_whole(rate: float) -> None:
    y = drop_path(X, rate, KEY)
    kept = y.any(1)
    np.testing.assert_allclose(y, jnp.where(kept[:, None], X / (1 - rate), 0), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / len(X))


@pytest.mark.parametrize("function", [dropout, drop_path])
def test_nothing_is_dropped_without_a_key_or_a_rate_and_a_rate_may_be_an_array(function) -> None:
    assert function(X, 0.5, None) is X
    assert function(X, 0.0, KEY) is X
    np.testing.assert_array_equal(function(X, jnp.float32(0), KEY), X)
    np.testing.assert_allclose(function(X, jnp.float32(0.3), KEY), function(X, 0.3, KEY), rtol=1e-6)
    assert function(X.astype(jnp.bfloat16), 0.5, KEY).dtype == jnp.bfloat16
