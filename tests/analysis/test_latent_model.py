"""Latent models: what runs of models with a latent space have in common."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen.analysis import latent_model
from jaxgen.analysis.bars import bars
from jaxgen.distributions import Normal
from jaxgen.game import TrainState
from jaxgen.objectives.adversarial import uniform_law

IMAGE = (2, 2, 1)


class Linear(nn.Module):
    """A code of two numbers, and images whose values lie between -3 and 3."""

    gives_law: bool

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Any:
        return self.decode(self.encode(x, train=train), train=train)

    def encode(self, x: jax.Array, *, train: bool = False) -> Any:
        z = x.reshape(len(x), -1)[:, :2]
        return Normal(z, jnp.full_like(z, 5.0)) if self.gives_law else z

    def decode(self, z: jax.Array, *, train: bool = False) -> Normal:
        mean = jnp.concatenate([z, 3 * z], axis=-1).reshape(-1, *IMAGE)
        return Normal(mean, jnp.ones_like(mean))


class Maker(nn.Module):
    """A generator with batch statistics."""

    @nn.compact
    def __call__(self, z: jax.Array, *, train: bool = False) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, ())
        z = nn.BatchNorm(use_running_average=not train, use_bias=False, use_scale=False, epsilon=0.0)(z)
        return jnp.tanh(scale * jnp.concatenate([z, -z], axis=-1)).reshape(-1, *IMAGE)


def state_of(params: Any, vars: Any = {}) -> TrainState:  # noqa: B006
    return TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), params, {}, vars, {})


@pytest.mark.parametrize("pixels", [(0.0, 1.0), (-1.0, 1.0)])
def test_images_are_the_means_in_the_range_of_a_picture(pixels: tuple[float, float]) -> None:
    model, state = latent_model.of_vae(Linear(True), 2, pixels=pixels), state_of({"model": {}})
    z = jnp.array([[0.2, -0.4], [0.9, 0.1]])
    values = np.concatenate([z, 3 * z], axis=-1).reshape(-1, *IMAGE)
    expected = np.clip((values - pixels[0]) / (pixels[1] - pixels[0]), 0, 1)
    np.testing.assert_allclose(model.decode(state, z), expected, atol=1e-6)


def test_a_code_is_the_mean_of_its_law() -> None:
    x = jnp.arange(8.0).reshape(2, *IMAGE)
    assert latent_model.of_vae(Linear(True), 2).encode is not None
    for model in (latent_model.of_vae(Linear(True), 2), latent_model.of_autoencoder(Linear(False))):
        assert model.encode is not None
        np.testing.assert_array_equal(model.encode(state_of({"model": {}}), x), [[0, 1], [4, 5]])


def test_samples_are_decoded_draws_of_the_law() -> None:
    model, state = latent_model.of_vae(Linear(True), 2, pixels=(-50.0, 50.0)), state_of({"model": {}})
    drawn = [np.asarray(model.sample(state, jax.random.key(i), jaxgen.given(4000))) for i in range(2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 0
    z = 100 * drawn[0].reshape(4000, 4)[:, :2] - 50
    np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=0.04)


def test_a_generator_is_applied_with_its_own_parameters_and_running_statistics() -> None:
    generator = Maker()
    own = generator.init(jax.random.key(0), jnp.zeros((1, 2)))
    params, vars = {"scale": jnp.float32(2.0)}, {"generator": {"batch_stats": own["batch_stats"]}}
    z = jnp.array([[0.1, 0.2]])
    expected = np.tanh(2 * np.array([0.1, 0.2, -0.1, -0.2])).reshape(1, *IMAGE)
    plain = latent_model.of_generator(generator, 2)
    np.testing.assert_allclose(plain.decode(state_of({"generator": params}, vars), z), (expected + 1) / 2, atol=1e-6)
    joint = latent_model.of_generator(generator, 2, pixels=(0.0, 1.0), params=lambda state: state.params["game"])
    state = state_of({"game": {"generator": params}, "generator": {"scale": jnp.float32(0.0)}}, vars)
    np.testing.assert_allclose(joint.decode(state, z), expected.clip(0, 1), atol=1e-6)


def test_a_law_of_ones_own() -> None:
    model = latent_model.of_generator(Maker(), uniform_law(2))
    assert model.law is not None
    assert float(jnp.abs(model.law(jax.random.key(0), 500)).max()) <= 1.0


def test_the_kl_of_each_latent_is_that_of_its_posterior_from_the_prior() -> None:
    x = jnp.array([[3.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]).reshape(2, *IMAGE)
    model, state = latent_model.of_vae(Linear(True), 2), state_of({"model": {}})
    z = np.array([[3.0, -1.0], [1.0, 0.0]])
    expected = 0.5 * (25 + z**2 - 1) - np.log(5)
    assert model.kl is not None
    np.testing.assert_allclose(model.kl(state, x), expected, rtol=1e-6)
    shown = model.pictures(x)["kls"](state, jax.random.key(0))
    assert f"2 of 2 above 0.01 nats, {expected.mean(0).sum():.2f} in all; step 0" in shown.caption
    np.testing.assert_array_equal(shown.images, bars(sorted(expected.mean(0), reverse=True), width=384))


def test_pictures_are_those_that_a_model_can_draw() -> None:
    x = jnp.zeros((4, *IMAGE))
    assert set(latent_model.of_vae(Linear(True), 2).pictures(x)) == {
        "samples",
        "reconstructions",
        "interpolations",
        "traversals",
        "kls",
    }
    flow = latent_model.of_vae(Linear(True), 2, normal=False).pictures(x)
    assert set(flow) == {"samples", "reconstructions", "interpolations", "traversals"}
    assert set(latent_model.of_autoencoder(Linear(False)).pictures(x)) == {"reconstructions", "interpolations"}
    assert set(latent_model.of_generator(Maker(), 2).pictures()) == {"samples", "interpolations", "arithmetic"}
    samples = latent_model.of_vae(Linear(True), 2).pictures(x)["samples"](state_of({"model": {}}), jax.random.key(0))
    assert samples.images.shape == (64, *IMAGE)
    assert samples.caption.startswith("Samples of the prior")
