"""The stack of tied autoencoders: each way through it, against numpy in float64."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.distributions import sum_event
from jaxgen.models.autoencoders import StackedAutoencoder

MODEL = StackedAutoencoder((3, 2, 1), (5, 4, 3), classes=7)
X = jnp.asarray(np.random.default_rng(0).uniform(size=(6, 3, 2, 1)), jnp.float32)
BEGUN = MODEL.init(jax.random.key(0), X)["params"]
PARAMS = jax.tree.map(lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), BEGUN)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def number(layer: int, name: str) -> np.ndarray:
    return np.asarray(PARAMS[f"layers_{layer}"][name], np.float64)


def up(depth: int) -> np.ndarray:
    h = np.asarray(X, np.float64).reshape(6, 6)
    for i in range(depth):
        h = sigmoid(h @ number(i, "kernel") + number(i, "bias"))
    return h


def down(h: np.ndarray, depth: int) -> np.ndarray:
    for i in reversed(range(depth)):
        h = sigmoid(h @ number(i, "kernel").T + number(i, "visible_bias"))
    return h.reshape(6, 3, 2, 1)


def call(*args: Any, **options: Any) -> Any:
    return MODEL.apply({"params": PARAMS}, *args, **options)


def test_the_units_of_every_depth_and_the_logits_of_the_last() -> None:
    np.testing.assert_array_equal(call(X, 0, method="encode"), X)
    for depth in (1, 2, 3):
        np.testing.assert_allclose(call(X, depth, method="encode"), up(depth), rtol=1e-5)
    np.testing.assert_array_equal(call(X, method="encode"), call(X, 3, method="encode"))
    w, b = (np.asarray(PARAMS["softmax"][name], np.float64) for name in ("kernel", "bias"))
    np.testing.assert_allclose(call(X), up(3) @ w + b, rtol=1e-4, atol=1e-6)


def test_linear_decoders_have_half_of_the_squared_error() -> None:
    model = StackedAutoencoder((3, 2, 1), (5, 4, 3), classes=7, linear=True)
    for layer in range(3):
        h = X if layer == 0 else jnp.asarray(up(layer), jnp.float32)
        w, b, c = (number(layer, name) for name in ("kernel", "bias", "visible_bias"))
        flat = np.asarray(h, np.float64).reshape(6, -1)
        expected = sigmoid(flat @ w + b) @ w.T + c
        found = model.apply({"params": PARAMS}, h, layer, method="denoise")
        np.testing.assert_allclose(found.mean.reshape(6, -1), expected, rtol=1e-4, atol=1e-5)
        loss = -sum_event(found.log_prob(h))
        constant = 0.5 * math.log(2 * math.pi) * flat.shape[1]
        np.testing.assert_allclose(loss, 0.5 * ((flat - expected) ** 2).sum(-1) + constant, rtol=1e-4)
    h = np.asarray(up(2), np.float64)
    for i in (1, 0):
        h = h @ number(i, "kernel").T + number(i, "visible_bias")
    found = model.apply({"params": PARAMS}, jnp.asarray(up(2), jnp.float32), depth=2, method="decode")
    np.testing.assert_allclose(found.mean.reshape(6, 6), h, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.apply({"params": PARAMS}, X), call(X))


def test_each_layer_is_an_autoencoder_of_what_is_below_it() -> None:
    for layer in range(3):
        h = X if layer == 0 else jnp.asarray(up(layer), jnp.float32)
        w, b, c = (number(layer, name) for name in ("kernel", "bias", "visible_bias"))
        found = call(h, layer, method="denoise")
        expected = sigmoid(sigmoid(np.asarray(h, np.float64).reshape(6, -1) @ w + b) @ w.T + c)
        assert found.mean.shape == h.shape
        np.testing.assert_allclose(found.mean.reshape(6, -1), expected, rtol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_units_are_decoded_through_the_layers_below_them(depth: int) -> None:
    found = call(jnp.asarray(up(depth), jnp.float32), depth=depth, method="decode").mean
    np.testing.assert_allclose(found, down(up(depth), depth), rtol=1e-5)
    if depth == 3:
        np.testing.assert_array_equal(found, call(jnp.asarray(up(3), jnp.float32), method="decode").mean)


def test_the_layers_begin_within_their_limits_and_the_softmax_and_the_biases_at_zero() -> None:
    begun = StackedAutoencoder((10, 10, 1), (90, 40)).init(jax.random.key(1), jnp.zeros((1, 10, 10, 1)))["params"]
    for layer, (ins, outs) in enumerate([(100, 90), (90, 40)]):
        own = begun[f"layers_{layer}"]
        limit = 4 * np.sqrt(6 / (ins + outs))
        assert 0.99 * limit < np.abs(own["kernel"]).max() <= limit
        assert (own["kernel"].shape, own["bias"].shape, own["visible_bias"].shape) == ((ins, outs), (outs,), (ins,))
        assert not any(np.any(own[name]) for name in ("bias", "visible_bias"))
    assert begun["softmax"]["kernel"].shape == (40, 10)
    assert not any(np.any(begun["softmax"][name]) for name in ("kernel", "bias"))


def test_half_precision_is_of_the_products_alone() -> None:
    half = MODEL.clone(dtype=jnp.bfloat16)
    logits = half.apply({"params": PARAMS}, X)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, call(X), atol=0.05)
    assert np.abs(np.asarray(logits - call(X))).max() > 0
