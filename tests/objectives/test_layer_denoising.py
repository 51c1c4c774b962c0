"""The loss of one layer of a stack: its value and its gradient by hand in float64, and what it leaves alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import objectives
from jaxgen.models.autoencoders import StackedAutoencoder

KEY = jax.random.key(0)
MODEL = StackedAutoencoder((3, 2, 1), (5, 4), classes=3)
X = jnp.asarray(np.random.default_rng(0).uniform(size=(6, 3, 2, 1)), jnp.float32)
PARAMS = jax.tree.map(lambda p: p + 0.2 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), MODEL.init(KEY, X)["params"])
BATCH: dict[str, Any] = {"image": X, "slot": jnp.arange(6)}


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def number(layer: int, name: str) -> np.ndarray:
    return np.asarray(PARAMS[f"layers_{layer}"][name], np.float64)


def below(layer: int) -> np.ndarray:
    h = np.asarray(X, np.float64).reshape(6, -1)
    for i in range(layer):
        h = sigmoid(h @ number(i, "kernel") + number(i, "bias"))
    return h


def without_the_first(key: Any, h: Any) -> Any:
    return h.at[:, 0].set(0.0)


def means(layer: int, corrupt: Any, params: Any, *, train: bool = True) -> Any:
    state = jaxgen.TrainState(jnp.zeros((), jnp.int32), KEY, {}, {}, {}, {}, {})
    loss = objectives.layer_denoising(MODEL, layer, corrupt)
    values, aux = loss({"model": params}, state, BATCH, KEY, train=train)
    return values.mean(), (values, aux.metrics)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_gradient_is_that_of_both_uses_of_the_weights_and_of_one_layer_alone(layer: int) -> None:
    """Of the mean cross-entropy of the clean input: d logits = (r - h) / B, through the decoder's and the encoder's W."""
    h = below(layer)
    given = h.copy()
    if layer == 0:  # the first row of the image
        given[:, :2] = 0
    else:
        given[:, 0] = 0
    w, b, c = (number(layer, name) for name in ("kernel", "bias", "visible_bias"))
    z = sigmoid(given @ w + b)
    r = sigmoid(z @ w.T + c)
    of_logits = (r - h) / 6
    of_units = of_logits @ w * z * (1 - z)
    expected = {"kernel": given.T @ of_units + of_logits.T @ z, "bias": of_units.sum(0), "visible_bias": of_logits.sum(0)}

    grads, (values, metrics) = jax.grad(means, argnums=2, has_aux=True)(layer, without_the_first, PARAMS)
    np.testing.assert_allclose(values, -(h * np.log(r) + (1 - h) * np.log(1 - r)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(metrics["squared_error"], ((h - r) ** 2).sum(1), rtol=1e-4)
    for name, value in expected.items():
        np.testing.assert_allclose(grads[f"layers_{layer}"][name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    others = {name: own for name, own in grads.items() if name != f"layers_{layer}"}
    assert others.keys() == PARAMS.keys() - {f"layers_{layer}"}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(others))


def test_the_evaluation_is_of_the_clean_input() -> None:
    _, (clean, _) = means(1, without_the_first, PARAMS, train=False)
    _, (expected, _) = means(1, lambda key, h: h, PARAMS)
    np.testing.assert_array_equal(clean, expected)
    assert np.abs(np.asarray(means(1, without_the_first, PARAMS)[1][0] - expected)).max() > 1e-3


def test_each_example_is_corrupted_by_its_own_key() -> None:
    whole = means(1, objectives.masking(0.5), PARAMS)[1][0]
    state = jaxgen.TrainState(jnp.zeros((), jnp.int32), KEY, {}, {}, {}, {}, {})
    loss = objectives.layer_denoising(MODEL, 1, objectives.masking(0.5))
    part = {"image": X[4:], "slot": jnp.arange(4, 6)}
    np.testing.assert_allclose(loss({"model": PARAMS}, state, part, KEY, train=True)[0], whole[4:], rtol=1e-5)
