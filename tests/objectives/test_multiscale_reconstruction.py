"""Reconstruction at several resolutions: in NumPy, and at one resolution."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import jaxgen
from jaxgen import objectives
from jaxgen.distributions import Bernoulli, Normal


class Constant(nn.Module):
    """Images of 2x4, 4x8 and 8x16 pixels, each of one learned number."""

    bernoulli: bool = False

    def setup(self) -> None:
        self.values = self.param("values", nn.initializers.zeros_init(), (3,))

    def scales(self, x: Any, *, train: bool = False) -> Any:
        images = [jnp.broadcast_to(self.values[i], (len(x), 2 * 2**i, 4 * 2**i, 1)) for i in range(3)]
        return tuple(Bernoulli(a) if self.bernoulli else Normal(a, jnp.full_like(a, 0.5)) for a in images)

    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return self.scales(x, train=train)[-1]


VALUES = (0.3, -0.2, 0.6)
X = np.random.default_rng(0).uniform(size=(5, 8, 16, 1))


def values_of(loss: Any) -> tuple[np.ndarray, Any]:
    params = {"model": {"values": jnp.array(VALUES)}}
    state = jaxgen.create_state(jax.random.key(0), params, {}, {"model": jaxgen.Player(loss, optax.sgd(0.1))})
    values, aux = loss(params, state, {"image": jnp.asarray(X, jnp.float32)}, jax.random.key(0), train=True)
    return np.asarray(values), aux.metrics


def means(x: np.ndarray, times: int) -> np.ndarray:
    side = 2**times
    return x.reshape(5, 8 // side, side, 16 // side, side, 1).mean((2, 4))


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.25])
def test_the_loss_is_the_sum_over_sizes_of_means_per_pixel_times_the_pixels(weight: float) -> None:
    values, metrics = values_of(objectives.multiscale_reconstruction(Constant(), weight=weight))
    expected = -stats.norm(0.6, 0.5).logpdf(X).mean((1, 2, 3))
    for times, value in ((1, -0.2), (2, 0.3)):
        expected = expected - weight * stats.norm(value, 0.5).logpdf(means(X, times)).mean((1, 2, 3))
    np.testing.assert_allclose(values, 128 * expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["squared_error"], ((X - 0.6) ** 2).sum((1, 2, 3)), rtol=1e-5)


def test_without_the_smaller_images_it_is_reconstruction() -> None:
    for bernoulli in (False, True):
        whole, metrics = values_of(objectives.multiscale_reconstruction(Constant(bernoulli), weight=0.0))
        plain, same = values_of(objectives.reconstruction(Constant(bernoulli)))
        np.testing.assert_allclose(whole, plain, rtol=1e-6)
        np.testing.assert_array_equal(metrics["squared_error"], same["squared_error"])
