"""Pictures of discrete codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import pictures
from jaxgen.analysis.codes import MOST, album, maps, palette
from jaxgen.game import TrainState

STATE = TrainState(jnp.array(1234), jax.random.key(0), {}, {}, {}, {})
K = 6


@pytest.mark.parametrize("count", [2, 64, 512])
def test_no_two_codes_have_the_same_colour(count: int) -> None:
    colours = np.asarray(palette(count))
    assert ((colours >= 0) & (colours <= 1)).all()
    distances = np.abs(colours[:, None] - colours).max(-1) + np.eye(count)
    assert distances.min() > 1 / (2 * count)
    # Neighbours differ plainly.
    assert np.abs(np.diff(colours, axis=0)).max(1).min() > 0.5


def test_a_map_has_the_colour_of_the_code_that_lies_under_each_pixel() -> None:
    codes = jnp.array([[[0, 1, 2], [3, 4, 5]]])
    found = maps(codes, K, (4, 9))
    expected = np.kron(np.asarray(codes[0]), np.ones((2, 3), int))
    np.testing.assert_allclose(found[0], palette(K)[expected], rtol=1e-6)
    # Sides that the grid does not divide: each code has some pixels, in its order.
    uneven = maps(codes, K, (5, 7))
    assert uneven.shape == (1, 5, 7, 3)
    places = [int(np.abs(palette(K) - colour).sum(1).argmin()) for colour in uneven[0, 0]]
    assert places == sorted(places)
    assert set(places) == {0, 1, 2}


def encode(state: TrainState, x: jax.Array) -> jax.Array:
    """A code for each quarter of an image: its brightness in K steps."""
    return jnp.round(x[:, ::2, ::2, 0] * (K - 1)).astype(jnp.int32)


def decode(state: TrainState, codes: jax.Array) -> jax.Array:
    return (codes.astype(jnp.float32) / (K - 1)).repeat(2, axis=1).repeat(2, axis=2)[..., None]


def test_the_codebook_shows_the_codes_that_are_chosen_the_most_frequent_first() -> None:
    levels = np.array([[3, 3, 3, 1], [3, 1, 1, 4]]).reshape(2, 2, 2)
    x = jnp.asarray(np.kron(levels, np.ones((1, 2, 2)))[..., None] / (K - 1), jnp.float32)
    # The encoder sees the pixels as the networks do.
    shown = album(lambda state, x: encode(state, x + 0.5), decode, x - 0.5, K, pixels=(-0.5, 0.5))
    assert set(shown) == {"reconstructions", "code_maps", "codebook"}
    drawn = shown["codebook"](STATE, jax.random.key(0))
    np.testing.assert_allclose(drawn.images[:, 0, 0, 0], np.array([3, 1, 4]) / (K - 1), rtol=1e-6)
    assert drawn.caption.startswith("3 of 6 codes are chosen for 2 test images;")
    rows = np.asarray(shown["reconstructions"](STATE, jax.random.key(0)).images)
    np.testing.assert_allclose(rows[:2], x, atol=1e-6)
    np.testing.assert_allclose(rows[2:], x, atol=1e-6)
    mapped = np.asarray(shown["code_maps"](STATE, jax.random.key(0)).images)
    np.testing.assert_allclose(mapped[:2], np.repeat(x, 3, axis=-1), atol=1e-6)
    np.testing.assert_allclose(mapped[2:], palette(K)[np.kron(levels, np.ones((1, 2, 2), int))], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 17])
@pytest.mark.parametrize("colours", [1, 3])
def test_an_album_of_as_many_images_as_there_are(n: int, colours: int) -> None:
    count = MOST + 50
    x = jax.random.uniform(jax.random.key(0), (n, 4, 4, colours))

    def coded(state: TrainState, x: jax.Array) -> jax.Array:
        return (x[..., 0] * count).astype(jnp.int32)

    def decoded(state: TrainState, codes: jax.Array) -> jax.Array:
        return (codes.astype(jnp.float32) / count)[..., None].repeat(colours, axis=-1)

    for name, draw in album(coded, decoded, x, count).items():
        picture = draw(STATE, jax.random.key(0))
        assert len(picture.images) % picture.columns == 0, name
        assert pictures.encode(picture).startswith(b"\x89PNG")
        assert picture.caption.endswith("step 1,234")
