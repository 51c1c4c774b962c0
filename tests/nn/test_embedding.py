"""Embeddings of time against their formulas."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgen
from jaxgen.models.diffusion import MLP
from jaxgen.nn import RandomFourier, Sinusoidal, sinusoidal
from jaxgen.objectives import denoising_score_matching

T = jnp.array([0.0, 1.0, 17.0, 1000.0])


def test_sinusoidal_is_ho_et_als() -> None:
    features = sinusoidal(T, 8)
    for i, t in enumerate(T):
        angles = [float(t) * 10_000 ** (-k / 3) for k in range(4)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        np.testing.assert_allclose(features[i], expected, atol=1e-4)


@pytest.mark.parametrize("endpoint", [False, True])
def test_cosines_first_and_the_least_frequency(endpoint: bool) -> None:
    """As in the code of improved DDPM, where the frequencies are period^(-k / half)."""
    features = Sinusoidal(8, period=100.0, endpoint=endpoint, cosines_first=True).apply({}, T)
    angles = np.asarray(T, np.float64)[:, None] * 100.0 ** (-np.arange(4) / (3 if endpoint else 4))
    np.testing.assert_allclose(features, np.concatenate([np.cos(angles), np.sin(angles)], axis=1), atol=2e-4)


def test_scale_brings_unit_times_to_steps() -> None:
    np.testing.assert_array_equal(
        Sinusoidal(16, scale=1000.0).apply({}, T / 1000), Sinusoidal(16).apply({}, 1000.0 * (T / 1000))
    )


@pytest.mark.parametrize("features", [2, 7])
def test_features_come_in_pairs(features: int) -> None:
    with pytest.raises(ValueError, match="even number"):
        sinusoidal(T, features)


def test_random_fourier_features_are_of_normal_frequencies() -> None:
    variables = RandomFourier(2000, scale=3.0).init(jax.random.key(0), T)
    assert set(variables) == {"constants"}
    w = variables["constants"]["frequencies"]
    np.testing.assert_allclose([w.mean(), w.std()], [0, 3], atol=0.3)
    found = RandomFourier(2000, scale=3.0).apply(variables, jnp.array([0.5]))
    np.testing.assert_allclose(found[0, :1000], np.sin(np.pi * w), atol=1e-4)
    np.testing.assert_allclose(found[0, 1000:], np.cos(np.pi * w), atol=1e-4)
    # Their kernel is a Gaussian of the difference (Rahimi & Recht 2007): E cos(2 pi w d) = exp(-2 pi^2 s^2 d^2).
    pair = RandomFourier(2000, scale=3.0).apply(variables, jnp.array([0.2, 0.25]))
    np.testing.assert_allclose((pair[0] * pair[1]).sum() / 1000, math.exp(-2 * (math.pi * 3 * 0.05) ** 2), atol=0.08)


@pytest.mark.trains
def test_frequencies_are_not_trained() -> None:
    from jaxgen.diffusion import linear

    model = MLP(8, 1, RandomFourier(8))
    players = {"model": jaxgen.Player(denoising_score_matching(model, linear(4), feature="point"), optax.adam(0.1))}
    params, vars = jaxgen.initialize({"model": jaxgen.Network(model, jnp.zeros((1, 2)), jnp.zeros(1))})(jax.random.key(0))
    before = jax.device_get(vars["model"])
    state = jaxgen.create_state(jax.random.key(0), params, vars, players)
    state, _ = jax.jit(jaxgen.make_train_step(players))(state, {"point": jnp.ones((4, 2))})
    assert not any("frequencies" in str(path) for path, _ in jax.tree_util.tree_leaves_with_path(state.params))
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state.vars["model"]))
