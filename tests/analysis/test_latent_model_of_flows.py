"""What is drawn of a flow: samples at their temperature, and lines between test images."""

import jax
import jax.numpy as jnp
import numpy as np
from parameters import normal

from jaxgen.analysis import latent_model
from jaxgen.game import TrainState
from jaxgen.models.flows import ActNorm
from jaxgen.samples.conditions import given

SHAPE = (2, 3, 1)
STATE = TrainState(
    jnp.int32(3),
    jax.random.key(0),
    {"model": {"bias": jnp.full(1, -0.5), "log_scale": jnp.log(jnp.full(1, 20.0)) / 3}},
    {},
    {},
    {},
)
"""z = 20 (x - 0.5), so that samples lie within [0, 1]."""


def test_samples_have_the_deviation_of_their_temperature() -> None:
    for temperature in (1.0, 0.4):
        space = latent_model.of_flow(ActNorm(), SHAPE, temperature=temperature)
        x = np.asarray(space.sample(STATE, jax.random.key(1), given(3000)))
        assert x.shape == (3000, *SHAPE)
        np.testing.assert_allclose((x.mean(), x.std()), (0.5, temperature / 20), rtol=0.03)


def test_pictures_are_of_the_same_latents_at_each_temperature_and_of_lines_between_images() -> None:
    space = latent_model.of_flow(ActNorm(), SHAPE)
    x = jnp.clip(0.5 + 0.1 * normal(5, *SHAPE), 0, 1)
    album = latent_model.temperature_album(space, x, temperatures=(0.5, 1.0))
    samples = album["samples"](STATE, jax.random.key(2))
    cold, warm = np.split(np.asarray(samples.images) - 0.5, 2)
    np.testing.assert_allclose(2 * cold, warm, atol=1e-5)
    assert samples.caption.startswith("Samples, two rows each of the temperatures 0.5, 1;")
    lines = np.asarray(album["interpolations"](STATE, jax.random.key(2)).images).reshape(3, 16, *SHAPE)
    np.testing.assert_allclose(lines[:, 0], x[:3], atol=1e-5)
    np.testing.assert_allclose(lines[:, -1], x[2:], atol=1e-5)
    np.testing.assert_allclose(lines[:, 5], np.asarray(2 * x[:3] + x[2:]) / 3, atol=1e-5)
