"""Pictures of latents that are maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.analysis.latent_maps import EXTENT, MOST, album, grey
from jaxgen.game import TrainState

STATE = TrainState(jnp.array(1234), jax.random.key(0), {}, {}, {}, {})
X = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (40, 4, 4, 1)), jnp.float32)


def encode(state: TrainState, x: jax.Array) -> jax.Array:
    """Two channels of 2x2: the upper left pixel of each quarter, and ten times it."""
    return jnp.concatenate([x[:, ::2, ::2], 10 * x[:, ::2, ::2]], axis=-1)


def decode(state: TrainState, z: jax.Array) -> jax.Array:
    return (z[..., :1].repeat(2, axis=1).repeat(2, axis=2) + 1) / 2


def test_a_channel_is_grey_at_its_mean_and_black_or_white_two_deviations_from_it() -> None:
    z = jnp.asarray(np.random.default_rng(1).normal(3.0, 2.0, (50, 2, 2, 3)), jnp.float32)
    found = np.asarray(grey(z, (2, 2)))
    assert found.shape == (3, 50, 2, 2)
    mean, std = np.asarray(z).mean((0, 1, 2)), np.asarray(z).std((0, 1, 2))
    expected = np.clip(0.5 + (np.asarray(z) - mean) / (2 * EXTENT * std), 0, 1)
    np.testing.assert_allclose(found, np.moveaxis(expected, -1, 0), atol=1e-5)
    assert found.min() == 0.0
    assert found.max() == 1.0
    np.testing.assert_array_equal(grey(jnp.ones((2, 1, 1, 1)), (1, 1)), 0.5)


def test_maps_take_the_size_of_the_images_by_the_nearest_latents() -> None:
    z = jnp.arange(4.0).reshape(1, 2, 2, 1)
    small, large = np.asarray(grey(z, (2, 2)))[0, 0], np.asarray(grey(z, (4, 6)))[0, 0]
    np.testing.assert_array_equal(large, np.kron(small, np.ones((2, 3))))


def test_the_album() -> None:
    pictures = album(encode, decode, X, pixels=(-1, 1))
    shown = pictures["reconstructions"](STATE, jax.random.key(0))
    assert shown.columns == 16
    rows = np.asarray(shown.images).reshape(4, 16, 4, 4, 1)
    np.testing.assert_allclose(rows[0], (X[:16] + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(rows[3], decode(STATE, encode(STATE, X[16:32])), atol=1e-6)

    shown = pictures["latents"](STATE, jax.random.key(0))
    rows = np.asarray(shown.images).reshape(3, 16, 4, 4, 1)
    np.testing.assert_allclose(rows[0], (X[:16] + 1) / 2, atol=1e-6)
    # Each channel in its own unit, of all the images that are shown.
    np.testing.assert_allclose(rows[1], rows[2], atol=1e-5)
    np.testing.assert_allclose(rows[1, ..., 0], grey(encode(STATE, X[:32]), (4, 4))[0, :16], atol=1e-6)
    assert "the 2 channels of its 2x2 latents" in shown.caption
    assert shown.caption.endswith("step 1,234")

    shown = pictures["interpolations"](STATE, jax.random.key(0))
    rows = np.asarray(shown.images).reshape(8, 16, 4, 4, 1)
    z = np.asarray(encode(STATE, X[:16]))
    np.testing.assert_allclose(rows[2, 0], decode(STATE, z[2:3])[0], atol=1e-6)
    np.testing.assert_allclose(rows[2, 15], decode(STATE, z[10:11])[0], atol=1e-6)
    np.testing.assert_allclose(rows[2, 5], decode(STATE, z[2:3] + (z[10:11] - z[2:3]) / 3)[0], atol=1e-5)


@pytest.mark.parametrize("n", [1, 3])
def test_few_images(n: int) -> None:
    for picture in album(encode, decode, X[:n], pixels=(-1, 1)).values():
        shown = picture(STATE, jax.random.key(0))
        assert len(shown.images) % shown.columns == 0


def test_of_many_channels_the_first_are_shown() -> None:
    many = lambda state, x: jnp.concatenate([x[:, ::2, ::2]] * 6, axis=-1)
    shown = album(many, decode, X, pixels=(-1, 1))["latents"](STATE, jax.random.key(0))
    assert len(shown.images) == (1 + MOST) * 16
    assert "the first 4 of 6 channels" in shown.caption
