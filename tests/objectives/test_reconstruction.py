"""Reconstruction losses against scikit-learn's and the squared error."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import optax
import pytest
from parameters import filled, normal
from sklearn.decomposition import PCA
from sklearn.metrics import log_loss

from jaxgen.game import Player, create_state, make_train_step
from jaxgen.models.autoencoders import Autoencoder, mlp
from jaxgen.nn import BernoulliLikelihood, GaussianLikelihood
from jaxgen.objectives import reconstruction


def build(likelihood: nn.Module, dtype: Any = jnp.float32) -> Autoencoder:
    return Autoencoder(mlp.Encoder((8,), dtype=dtype), mlp.Decoder((4, 3, 2), (8,), dtype=dtype), likelihood, 3, dtype=dtype)


def test_bernoulli_loss_is_the_cross_entropy_summed_over_pixels() -> None:
    model, x = build(BernoulliLikelihood()), np.asarray(normal(5, 4, 3, 2) > 0, np.float32)
    params = filled(model, jnp.array(x))
    loss, metrics = lg.values(reconstruction(model), {"model": params["params"]}, x)
    p = np.asarray(model.apply(params, jnp.array(x)).mean, np.float64)
    np.testing.assert_allclose(loss, [log_loss(x[i].ravel(), p[i].ravel(), normalize=False) for i in range(5)], rtol=1e-5)
    np.testing.assert_allclose(metrics["squared_error"], ((x - p) ** 2).sum((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("std", [0.1, 2.0])
def test_gaussian_loss_is_the_squared_error_up_to_constants(std: float) -> None:
    model, x = build(GaussianLikelihood(std=std)), np.asarray(normal(5, 4, 3, 2))
    params = filled(model, jnp.array(x))
    loss, metrics = lg.values(reconstruction(model), {"model": params["params"]}, x)
    decoded = np.asarray(model.apply(params, jnp.array(x)).mean, np.float64)
    squares = ((x - decoded) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(metrics["squared_error"], squares, rtol=1e-5)
    np.testing.assert_allclose(loss, squares / (2 * std**2) + 24 * np.log(std * np.sqrt(2 * np.pi)), rtol=1e-5)


def test_loss_of_a_bfloat16_network_is_float32_and_close() -> None:
    half, full = build(BernoulliLikelihood(), jnp.bfloat16), build(BernoulliLikelihood())
    x = np.asarray(normal(5, 4, 3, 2) > 0, np.float32)
    params = {"model": filled(full, jnp.array(x))["params"]}
    loss, metrics = lg.values(reconstruction(half), params, x)
    assert loss.dtype == metrics["squared_error"].dtype == jnp.float32
    np.testing.assert_allclose(loss, lg.values(reconstruction(full), params, x)[0], rtol=0.02)


@pytest.mark.trains
def test_a_linear_autoencoder_ends_at_the_squared_error_of_pca() -> None:
    # Baldi & Hornik 1989: the optimum spans the principal components.
    x = lg.draw(lg.exact(5, 2), 400)
    model = lg.LinearGaussian(dim=5, latents=2)
    players = {"model": Player(reconstruction(model), optax.adam(optax.cosine_decay_schedule(0.05, 600)))}
    # The width of the likelihood shrinks with the error, and so changes the loss's scale but not its minimum.
    start = {name: value + 0.1 for name, value in lg.moved(lg.exact(5, 2)).items()}
    step = make_train_step(players)
    begin = create_state(jax.random.key(0), lg.tree(start), {}, players)
    run = jax.jit(lambda s: jax.lax.scan(lambda s, _: (step(s, {"image": jnp.array(x)})[0], None), s, None, length=600)[0])
    end = run(begin)
    _, metrics = lg.values(reconstruction(model), end.params, x)
    pca = PCA(n_components=2).fit(x)
    best = ((x - pca.inverse_transform(pca.transform(x))) ** 2).sum(1).mean()
    assert best * (1 - 1e-4) < metrics["squared_error"].mean() < best * 1.01
