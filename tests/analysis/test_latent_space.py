"""Walks through a latent space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen.analysis.bars import bars
from jaxgen.analysis.latent_space import album, interpolations, kls, reconstructions, traversals
from jaxgen.game import TrainState

STATE = TrainState(jnp.array(1234), jax.random.key(0), {}, {}, {}, {})


def decode(z: jax.Array) -> jax.Array:
    """Images that show their code: `[N, 1, L, 1]`."""
    return z[:, None, :, None]


def numbered(*numbers: int) -> jax.Array:
    return jnp.array(numbers, jnp.float32)[:, None, None, None] * jnp.ones((1, 2, 2, 1))


def test_kls_are_bars_the_largest_of_each_group_first_and_the_caption_counts_them() -> None:
    groups = [jnp.array([0.0, 2.0, 0.005]), jnp.array([1.0, -1e-4])]
    picture = kls(groups, step=1234)
    assert picture.caption == ("KL of each latent, the largest first: 1 of 3, 1 of 2 above 0.01 nats, 3.00 in all; step 1,234")
    np.testing.assert_array_equal(picture.images, bars([2.0, 0.005, 0.0, 1.0, 0.0], width=384))
    assert "2 of 3, 1 of 2 above 0.001 nats" in kls(groups, step=0, above=1e-3).caption


def test_each_row_of_inputs_is_followed_by_the_row_of_its_reconstructions() -> None:
    grid = reconstructions(numbered(1, 2, 3, 4, 5, 6), numbered(-1, -2, -3, -4, -5, -6), columns=3)
    assert grid.shape == (12, 2, 2, 1)
    assert grid[:, 0, 0, 0].tolist() == [1, 2, 3, -1, -2, -3, 4, 5, 6, -4, -5, -6]


def test_interpolations_begin_and_end_at_the_decoded_ends() -> None:
    start, stop = normal(3, 4), normal(3, 4, seed=1)
    rows = interpolations(decode, start, stop, steps=5).reshape(3, 5, 1, 4, 1)
    np.testing.assert_array_equal(rows[:, 0], decode(start))
    np.testing.assert_array_equal(rows[:, -1], decode(stop))


def test_interpolations_are_evenly_spaced_on_a_line() -> None:
    start, stop = normal(3, 4), normal(3, 4, seed=1)
    rows = interpolations(decode, start, stop, steps=5).reshape(3, 5, 4)
    np.testing.assert_allclose(rows, np.linspace(start, stop, 5, axis=1), rtol=1e-4, atol=1e-6)


def test_a_traversal_varies_one_latent_and_no_other() -> None:
    z = normal(4)
    rows = np.asarray(traversals(decode, z, [2, 0], steps=7, extent=2.5)).reshape(2, 7, 4)
    for row, moving in zip(rows, [2, 0], strict=True):
        np.testing.assert_allclose(row[:, moving], np.linspace(-2.5, 2.5, 7), rtol=1e-6, atol=1e-6)
        others = [i for i in range(4) if i != moving]
        np.testing.assert_array_equal(row[:, others], np.broadcast_to(z[jnp.array(others)], (7, 3)))


@pytest.mark.parametrize("pixels", [(0.0, 1.0), (-1.0, 1.0)])
def test_album_shows_inputs_in_black_to_white_beside_what_the_decoder_makes_of_their_codes(pixels: tuple[float, float]) -> None:
    low, high = pixels
    # Pixel i, and so latent i, varies over the images the more the greater i is.
    middle, swing = (low + high) / 2, (high - low) / 2 * jnp.array([0.5, 0.6, 0.8, 1.0]).reshape(2, 2, 1)
    x = middle + swing * jax.random.uniform(jax.random.key(0), (40, 2, 2, 1), minval=-1, maxval=1)
    pictures = album(lambda state, x: x.reshape(len(x), -1), lambda state, z: 0.5 * z.reshape(-1, 2, 2, 1), x, pixels=pixels)
    assert set(pictures) == {"reconstructions", "interpolations", "traversals"}
    shown = {name: picture(STATE, jax.random.key(0)) for name, picture in pictures.items()}
    for picture in shown.values():
        assert len(picture.images) % picture.columns == 0
        assert "1,234" in picture.caption
    rows = shown["reconstructions"].images.reshape(4, 16, 2, 2, 1)
    np.testing.assert_allclose(rows[0], (x[:16] - low) / (high - low), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rows[3], 0.5 * x[16:32], rtol=1e-6)
    rows = shown["interpolations"].images.reshape(8, 16, 2, 2, 1)
    np.testing.assert_allclose(rows[:, 0], 0.5 * x[:8], rtol=1e-6)
    np.testing.assert_allclose(rows[:, -1], 0.5 * x[8:16], rtol=1e-6)
    rows = 2 * shown["traversals"].images.reshape(4, 16, 4)
    for row, moving in zip(rows, [3, 2, 1, 0], strict=True):
        np.testing.assert_allclose(row[:, moving], np.linspace(-3, 3, 16), rtol=1e-5)
        kept = [i for i in range(4) if i != moving]
        np.testing.assert_allclose(row[:, kept], np.broadcast_to(x[0].ravel()[jnp.array(kept)], (16, 3)), rtol=1e-6)


def test_album_traverses_twelve_latents_at_most() -> None:
    z = normal(16, 30)
    pictures = album(lambda state, x: z[: len(x)], lambda state, z: decode(z), jnp.zeros((32, 1, 30, 1)))
    assert len(pictures["traversals"](STATE, jax.random.key(0)).images) == 12 * 16


@pytest.mark.parametrize(
    ("variances", "rows", "said"),
    [
        ([0.02, 0.0, 0.009, 4.0], [3, 0], "2 of 4 latents are active; the 2 most active"),
        ([0.0, 0.011, 0.0], [1], "1 of 3 latents is active; the 1 most active"),
        ([0.001, 0.002, 0.0], [1], "None of the 3 latents is active"),
        ([1.0] * 14, list(range(12)), "14 of 14 latents are active; the 12 most active"),
    ],
)
def test_traversals_are_of_active_latents_alone(variances: list[float], rows: list[int], said: str) -> None:
    """A code of +-sqrt(v) has the variance v, and the threshold is 0.01 of the variance, not of the deviation."""
    z = jnp.sqrt(jnp.array(variances)) * jnp.where(jnp.arange(32) % 2, 1.0, -1.0)[:, None]
    pictures = album(lambda state, x: z, lambda state, z: decode(z), jnp.zeros((32, 1, len(variances), 1)))
    shown = pictures["traversals"](STATE, jax.random.key(0))
    assert said in shown.caption
    assert "1,234" in shown.caption
    found = np.asarray(shown.images).reshape(len(rows), 16, len(variances))
    for row, moving in zip(found, rows, strict=True):
        np.testing.assert_allclose(row[:, moving], np.linspace(-3, 3, 16), rtol=1e-5)
