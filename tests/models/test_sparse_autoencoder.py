"""The k-sparse autoencoder: which units remain, what the gradient sees, and the tied weights."""

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parameters import filled, normal

from jaxgen.models.autoencoders import SparseAutoencoder
from jaxgen.models.autoencoders.sparse import largest

M = 12
traced = jax.jit(lambda z, k: largest(z, k, 9))
fixed = jax.jit(largest, static_argnums=1)


@pytest.mark.parametrize("k", [1, 3, 11, 12])
def test_the_k_largest_are_kept_as_they_are(k: int) -> None:
    z = np.asarray(normal(20, M))
    ours = np.asarray(largest(jnp.array(z), k))
    assert ((ours != 0).sum(1) == k).all()
    for row, kept in zip(z, ours, strict=True):
        threshold = np.sort(row)[::-1][k - 1]
        np.testing.assert_array_equal(kept, np.where(row >= threshold, row, 0))


def test_negative_activations_are_no_large_ones() -> None:
    np.testing.assert_array_equal(largest(jnp.array([[-9.0, 1.0, 2.0, -0.5]]), 3), [[0.0, 1.0, 2.0, -0.5]])


def test_of_equal_activations_only_k_are_kept() -> None:
    assert (np.asarray(largest(jnp.ones((2, 5)), 3)) != 0).sum(1).tolist() == [3, 3]


def test_more_than_there_are_is_all() -> None:
    z = normal(3, M)
    np.testing.assert_array_equal(largest(z, 40), z)


@settings(max_examples=50)
@given(hnp.arrays(np.float32, (4, M), elements=st.floats(-4, 4, width=32).map(lambda x: x or 1.0)), st.integers(1, 9))
def test_a_traced_k_keeps_what_a_number_keeps(z: np.ndarray, k: int) -> None:
    ours = np.asarray(traced(z, k))
    np.testing.assert_array_equal(ours, fixed(z, k))
    assert ((ours != 0).sum(1) == k).all()


@pytest.mark.parametrize("most", [None, 7])
def test_the_gradient_passes_through_the_kept_units_alone(most: int | None) -> None:
    z, weights = normal(5, M), normal(5, M, seed=1)
    by_z = jax.jit(jax.grad(lambda z: (weights * largest(z, 4, most)).sum()))(z)
    np.testing.assert_array_equal(by_z, np.where(np.asarray(largest(z, 4)) != 0, weights, 0))


def test_encoder_and_decoder_share_their_weights() -> None:
    model, x = SparseAutoencoder((3, 2, 1), M), normal(4, 3, 2, 1)
    p = filled(model, x)["params"]
    assert {name: v.shape for name, v in p.items()} == {"kernel": (6, M), "bias": (M,), "visible_bias": (6,)}
    w = np.asarray(p["kernel"], np.float64)
    z = np.asarray(x, np.float64).reshape(4, 6) @ w + p["bias"]
    z = np.where(z >= np.sort(z, 1)[:, -3:-2], z, 0)
    np.testing.assert_allclose(model.apply({"params": p}, x, 3, method="encode"), z, rtol=1e-4, atol=1e-6)
    decoded = model.apply({"params": p}, jnp.array(z, jnp.float32), method="decode")
    np.testing.assert_allclose(decoded, (z @ w.T + p["visible_bias"]).reshape(4, 3, 2, 1), rtol=1e-4, atol=1e-5)


def test_the_call_keeps_every_unit() -> None:
    model, x = SparseAutoencoder((3, 2, 1), M), normal(4, 3, 2, 1)
    p = filled(model, x)["params"]
    z = x.reshape(4, 6) @ p["kernel"] + p["bias"]
    np.testing.assert_allclose(
        model.apply({"params": p}, x), (z @ p["kernel"].T + p["visible_bias"]).reshape(4, 3, 2, 1), rtol=1e-3, atol=1e-5
    )


def test_units_that_no_image_keeps_learn_nothing() -> None:
    model, x = SparseAutoencoder((3, 2, 1), M), normal(3, 3, 2, 1)
    p = filled(model, x)["params"]

    def error(p: dict) -> jax.Array:
        z = model.apply({"params": p}, x, 2, method="encode")
        return ((model.apply({"params": p}, z, method="decode") - x) ** 2).sum()

    grads = jax.jit(jax.grad(error))(p)
    used = (np.asarray(model.apply({"params": p}, x, 2, method="encode")) != 0).any(0)
    assert 0 < used.sum() < M
    np.testing.assert_array_equal(np.abs(grads["kernel"]).max(0) > 0, used)
    np.testing.assert_array_equal(np.abs(grads["bias"]) > 0, used)


def test_half_precision_chooses_and_adds_in_float32() -> None:
    half, x = SparseAutoencoder((3, 2, 1), M, dtype=jnp.bfloat16), normal(4, 3, 2, 1)
    variables = filled(half, x)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    z = half.apply(variables, x, 3, method="encode")
    decoded = half.apply(variables, z, method="decode")
    assert z.dtype == decoded.dtype == jnp.float32
    full = SparseAutoencoder((3, 2, 1), M).apply(variables, z, method="decode")
    assert 0 < np.abs(decoded - full).max() < 0.05
