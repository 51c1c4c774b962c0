"""Losses on latents against those on pixels, to which an orthogonal first stage makes them equal; and the scale."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orthogonal import LATENTS, TURN, Orthogonal, params, turned

import jaxgen
from jaxgen import diffusion, keys, samplers
from jaxgen.game import Aux
from jaxgen.objectives import LATENT_SCALE, denoiser_of, denoising_score_matching, in_latents, latents_by, unit_scale
from jaxgen.types import Array

KEY = jax.random.key(4)
NOISE = diffusion.scaled_linear(20)
X = np.random.default_rng(1).normal(size=(5, 8, 8, 1)).astype(np.float32)
BATCH = {"image": jnp.asarray(X), "slot": jnp.arange(5)}
WEIGHT = np.random.default_rng(2).normal(size=(64, 64)).astype(np.float32) / 8


class OfPixels(nn.Module):
    """The network `tanh(W Q^T z) Q`, which looks at the pixels that latents are of."""

    @nn.compact
    def __call__(self, z: Array, time: Array, *, train: bool = False) -> Array:
        weight = self.param("weight", lambda _: jnp.asarray(WEIGHT))
        out = jnp.tanh(z.reshape(len(z), -1) @ TURN @ weight + time[:, None] / 20)
        return (out @ TURN.T).reshape(z.shape)


def on_pixels(x: np.ndarray, time: np.ndarray) -> np.ndarray:
    return np.tanh(x.reshape(len(x), -1) @ WEIGHT.astype(np.float64) + np.asarray(time)[:, None] / 20).reshape(x.shape)


def state_of(scale: float = 1.0, factor: float = 1.0) -> jaxgen.TrainState:
    networks = {"model": {"weight": jnp.asarray(WEIGHT)}, "first_stage": jax.tree.map(jnp.asarray, params(factor))}
    return jaxgen.TrainState(jnp.int32(0), KEY, networks, {}, {LATENT_SCALE: jnp.float32(scale)}, {})


def seen(std: float = 0.0) -> Any:
    """A loss whose values are the latents that it gets."""

    def loss(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
        return batch["image"], Aux({**state.vars, "own": 1}, {"trained": train})

    return in_latents(loss, latents_by(Orthogonal(std)))


def test_on_latents_of_turned_pixels_the_loss_is_that_of_the_pixels() -> None:
    loss = in_latents(denoising_score_matching(OfPixels(), NOISE), latents_by(Orthogonal()))
    state = state_of()
    found, aux = loss(state.params, state, BATCH, KEY, train=True)
    own = keys.per_example(KEY, BATCH)
    level = NOISE.level(NOISE.draw(keys.fold_in(own, 0), 5))
    eps = turned(keys.draw(jax.random.normal, keys.fold_in(own, 1), (5, *LATENTS)))
    alpha, sigma = (np.asarray(a, np.float64).reshape(-1, 1, 1, 1) for a in (level.alpha, level.sigma))
    expected = ((on_pixels(alpha * X + sigma * eps, np.asarray(level.time)) - eps) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(aux.metrics["noise_error"], expected, rtol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_samples_of_turned_pixels_are_those_of_the_pixels(scale: float) -> None:
    """DDIM in latents, decoded, and DDIM in pixels from the same noise; with a scale the data are larger by it."""
    state, latents = state_of(scale, factor=1 / scale), latents_by(Orthogonal())
    z = np.random.default_rng(3).normal(size=(4, *LATENTS)).astype(np.float32)
    found = latents.decode(state, samplers.ddim(NOISE)(denoiser_of(OfPixels(), state.params, {}), jnp.asarray(z), KEY).x)
    x, times = turned(z), NOISE.time
    for t in range(20, 0, -1):
        eps = on_pixels(x, np.full(4, times[t]))
        x0 = (x - NOISE.sigma[t] * eps) / NOISE.alpha[t]
        x = NOISE.alpha[t - 1] * x0 + NOISE.sigma[t - 1] * eps
    np.testing.assert_allclose(found, x, rtol=1e-3, atol=1e-3)


def test_no_gradient_reaches_the_first_stage() -> None:
    loss = in_latents(denoising_score_matching(OfPixels(), NOISE), latents_by(Orthogonal()))
    state = state_of()
    found = jax.grad(lambda params: loss(params, state, BATCH, KEY, train=True)[0].sum())(state.params)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(found["first_stage"]))
    assert (np.abs(found["model"]["weight"]) > 0).any()


def test_in_training_latents_are_drawn_with_a_key_of_each_example_and_elsewhere_they_are_means() -> None:
    state, mean = state_of(3.0), (X.reshape(5, -1) @ TURN.T).reshape(5, *LATENTS)
    drawn, aux = seen(0.5)(state.params, state, BATCH, KEY, train=True)
    own = keys.fold_in(keys.per_example(KEY, BATCH), keys.LATENTS)
    noise = jax.vmap(lambda key: jax.random.normal(key, LATENTS))(own)
    np.testing.assert_allclose(drawn, 3 * (mean + 0.5 * noise), rtol=1e-4, atol=1e-4)
    assert aux.metrics["trained"] is True
    evaluated, aux = seen(0.5)(state.params, state, BATCH, KEY, train=False)
    np.testing.assert_allclose(evaluated, 3 * mean, rtol=1e-4, atol=1e-4)
    assert aux.metrics["trained"] is False


def test_the_draw_of_the_latents_is_none_of_the_loss() -> None:
    """The noise of the latents is no noise that `denoising_score_matching` draws with the same keys."""
    drawn = [jax.random.normal(keys.fold_in(KEY, i), (4,)) for i in (0, 1, 2, keys.LATENTS)]
    assert len({float(a[0]) for a in drawn}) == 4


def test_the_scale_is_not_moved_and_the_other_variables_are() -> None:
    state = state_of()
    _, aux = seen()(state.params, state, BATCH, KEY, train=True)
    assert set(aux.vars) == {"own"}


def test_decoding_undoes_encoding_whatever_the_scale() -> None:
    state, latents = state_of(0.18215, factor=7.0), latents_by(Orthogonal())
    z = latents.encode(state, X, None)
    assert np.linalg.norm(z) == pytest.approx(7 * 0.18215 * np.linalg.norm(X), rel=1e-4)
    np.testing.assert_allclose(latents.decode(state, z), X, atol=1e-4)


@pytest.mark.parametrize(("std", "factor"), [(0.0, 1.0), (0.0, 5.0), (4.0, 5.0)])
def test_with_the_unit_scale_latents_have_a_standard_deviation_of_one(std: float, factor: float) -> None:
    x = np.random.default_rng(5).normal(2.0, 3.0, (400, 8, 8, 1)).astype(np.float32)
    found = float(unit_scale(Orthogonal(std), {"params": params(factor)}, jnp.asarray(x), KEY))
    z = factor * (x.reshape(400, -1) @ TURN.T)
    assert found == pytest.approx(1 / np.sqrt(z.var(ddof=1) + std**2), rel=1e-2 if std else 1e-4)


def test_the_spread_of_few_numbers_is_that_of_torch() -> None:
    """`torch.Tensor.std` divides by n - 1."""
    x = np.zeros((1, 8, 8, 1), np.float32)
    x[0, 0, 0, 0] = 8.0
    z = (x.reshape(1, -1) @ TURN.T).ravel().astype(np.float64)
    found = float(unit_scale(Orthogonal(), {"params": params()}, jnp.asarray(x), KEY))
    assert found == pytest.approx(1 / z.std(ddof=1), rel=1e-5)
    assert found != pytest.approx(1 / z.std(), rel=1e-3)
