"""Pictures of discrete codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import pictures
from jaxgen.analysis.codes import MOST, album, album_of_two_levels, maps, palette, unigram_bits
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


def test_two_levels_are_shown_by_the_top_alone_and_by_both() -> None:
    x = jax.random.uniform(jax.random.key(0), (20, 4, 4, 1))
    seen: list[int] = []

    def encoded(state: TrainState, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        codes = encode(state, x + 0.5)
        return codes[:, :1, :1], codes

    def coarse(state: TrainState, top: jax.Array, bottom: jax.Array) -> jax.Array:
        seen.append(len(bottom))
        return decode(state, top.repeat(2, axis=1).repeat(2, axis=2))

    pictured = album_of_two_levels(encoded, lambda s, top, bottom: decode(s, bottom), coarse, x - 0.5, K, pixels=(-0.5, 0.5))
    rows = np.asarray(pictured["reconstructions"](STATE, jax.random.key(0)).images).reshape(2, 3, 16, 4, 4, 1)
    codes = encode(STATE, x)
    np.testing.assert_allclose(rows[0, 0], x[:16], atol=1e-6)
    np.testing.assert_allclose(rows[0, 1], np.broadcast_to(codes[:16, :1, :1, None] / (K - 1), (16, 4, 4, 1)), atol=1e-6)
    np.testing.assert_allclose(rows[0, 2], decode(STATE, codes)[:16], atol=1e-6)
    np.testing.assert_allclose(rows[1, 0, :4], x[16:], atol=1e-6)
    assert seen == [20]
    drawn = pictured["code_maps"](STATE, jax.random.key(0))
    coloured = np.asarray(drawn.images).reshape(2, 3, 16, 4, 4, 3)
    np.testing.assert_allclose(coloured[0, 0], np.repeat(x[:16], 3, axis=-1), atol=1e-6)
    np.testing.assert_allclose(coloured[0, 1], maps(codes[:16, :1, :1], K, (4, 4)), atol=1e-6)
    np.testing.assert_allclose(coloured[0, 2], maps(codes[:16], K, (4, 4)), atol=1e-6)
    assert "its 1x1 and its 2x2 codes" in drawn.caption


def test_the_bits_of_codes_of_unequal_frequency() -> None:
    assert unigram_bits(np.array([4.0, 2.0, 1.0, 1.0])) == pytest.approx(1.75)
    assert unigram_bits(np.array([0.0, 7.0])) == 0
