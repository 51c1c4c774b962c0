"""The k-sparse reconstruction's loss and its schedule."""

from typing import Any

import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import optax
import pytest
from parameters import filled, normal

from jaxgen.models.autoencoders import SparseAutoencoder
from jaxgen.objectives import k_sparse

MODEL, X = SparseAutoencoder((3, 2, 1), 12), normal(5, 3, 2, 1)
PARAMS: dict[str, Any] = {"model": filled(MODEL, X)["params"]}


def errors(k: int) -> np.ndarray:
    """By hand, `[B]`."""
    p = {name: np.asarray(v, np.float64) for name, v in PARAMS["model"].items()}
    flat = np.asarray(X, np.float64).reshape(5, 6)
    z = flat @ p["kernel"] + p["bias"]
    z = np.where(z >= np.sort(z, 1)[:, 12 - k, None], z, 0)
    return ((flat - z @ p["kernel"].T - p["visible_bias"]) ** 2).sum(1)


@pytest.mark.parametrize("k", [1, 4])
def test_loss_is_the_squared_error_of_k_units(k: int) -> None:
    values, metrics = lg.values(k_sparse(MODEL, k=k), PARAMS, np.asarray(X))
    assert values.shape == (5,)
    np.testing.assert_allclose(values, errors(k), rtol=1e-4)
    assert metrics["k"] == k


def test_k_falls_along_the_schedule_and_stays() -> None:
    loss = k_sparse(MODEL, k=optax.linear_schedule(10, 2, 16), most=10)
    run = jax.jit(lambda step: loss(PARAMS, lg.state(PARAMS)._replace(step=step), {"image": X}, jax.random.key(0), train=True))
    for step, k in {0: 10, 1: 10, 2: 9, 8: 6, 15: 2, 16: 2, 500: 2}.items():
        values, aux = run(jnp.array(step))
        # Halves round to the even number: 9.5 to 10, 2.5 to 2.
        assert aux.metrics["k"] == k, step
        np.testing.assert_allclose(values, errors(k), rtol=1e-4)


def test_loss_of_a_bfloat16_network_is_float32() -> None:
    half = SparseAutoencoder((3, 2, 1), 12, dtype=jnp.bfloat16)
    values, _ = lg.values(k_sparse(half, k=4), PARAMS, np.asarray(X))
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, errors(4), rtol=0.05)
