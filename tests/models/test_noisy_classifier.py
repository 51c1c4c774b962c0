"""The classifier of noisy images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.errors import SizeError
from jaxgen.models.diffusion import AttentionPool, presets

MODEL = presets.noisy_classifier(8, (1, 2), 1, (1,), classes=3)
X, TIME = normal(2, 8, 8, 1), jnp.array([3.0, 900.0])


@pytest.fixture(scope="module")
def variables() -> dict:
    return filled(MODEL, X, TIME)


def test_the_log_probability_has_a_gradient_in_the_image(variables: dict) -> None:
    def log_prob(x: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(MODEL.apply(variables, x, TIME))[jnp.arange(2), jnp.array([0, 2])].sum()

    assert MODEL.apply(variables, X, TIME).shape == (2, 3)
    gradient = jax.jit(jax.grad(log_prob))(X)
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).reshape(2, -1).max(1) > 0).all()


def test_the_time_is_told_by_example(variables: dict) -> None:
    one, other = (MODEL.apply(variables, X, jnp.array([3.0, t])) for t in (900.0, 100.0))
    np.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=1e-5)
    assert np.abs(one[1] - other[1]).max() > 1e-3


def test_images_of_another_size_are_refused(variables: dict) -> None:
    with pytest.raises(SizeError, match="positions for 16 pixels, and the smallest maps have 5x4"):
        MODEL.apply(variables, normal(2, 10, 8, 1), TIME)


def test_the_pool_is_attention_of_the_mean_to_all_places() -> None:
    x, layer = normal(2, 2, 3, 4), AttentionPool(5, heads=2)
    p = jax.tree.map(np.float64, filled(layer, x)["params"])
    pixels = np.asarray(x, np.float64).reshape(2, 6, 4)
    tokens = np.concatenate([pixels.mean(1, keepdims=True), pixels], 1) + p["positions"]
    q, k, v = (np.einsum("bnc,chd->bnhd", tokens, p[name]["kernel"]) + p[name]["bias"] for name in ("query", "key", "value"))
    logits = np.einsum("bhd,bmhd->bhm", q[:, 0], k) / np.sqrt(2)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.einsum("bhd,hdo->bo", np.einsum("bhm,bmhd->bhd", weights, v), p["out"]["kernel"]) + p["out"]["bias"]
    np.testing.assert_allclose(layer.apply(filled(layer, x), x), expected, rtol=1e-4, atol=1e-5)
