"""Images drawn pixel by pixel: in which order, with which keys, and which pixels stay."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.distributions import Bernoulli
from jaxgen.errors import InputError
from jaxgen.samplers import pixel_by_pixel


class Counted(NamedTuple):
    """A law that draws the sum of what is known and one more: the numbers of the pixels by their places."""

    x: Any

    def sample(self, key: Any) -> Any:
        return jnp.zeros_like(self.x) + self.x.max((1, 2, 3), keepdims=True) + 1


def chain(x: jax.Array) -> Bernoulli:
    """A pixel that is white with a probability of 0.2 after a black one, and of 0.7 after a white one."""
    flat = x.reshape(len(x), -1)
    before = jnp.pad(flat[:, :-1], ((0, 0), (1, 0)))
    return Bernoulli(jnp.where(before > 0, jnp.log(0.7 / 0.3), jnp.log(0.2 / 0.8)).reshape(x.shape))


def test_pixels_are_drawn_row_by_row_with_all_their_colours_at_once() -> None:
    found = pixel_by_pixel(Counted, jax.random.key(0), (2, 2, 3, 2))
    np.testing.assert_array_equal(found[1, :, :, 1], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(found[..., 0], found[..., 1])


def test_frequencies_are_the_products_of_the_conditional_probabilities() -> None:
    n = 20_000
    keys = jax.random.split(jax.random.key(1), n)
    found = np.asarray(pixel_by_pixel(chain, keys, (n, 1, 3, 1))).reshape(n, 3).astype(int)
    for bits in itertools.product([0, 1], repeat=3):
        p, before = 1.0, 0
        for bit in bits:
            white = 0.7 if before else 0.2
            p, before = p * (white if bit else 1 - white), bit
        assert (found == bits).all(1).mean() == pytest.approx(p, abs=5 * np.sqrt(p / n))
    # An image is the same in a draw of another size.
    np.testing.assert_array_equal(pixel_by_pixel(chain, keys[5:9], (4, 1, 3, 1)).reshape(4, 3), found[5:9])


def test_known_pixels_stay_and_are_seen_from_the_start() -> None:
    known, mask = jnp.full((1, 2, 2, 1), 7.0), jnp.array([[True, False], [False, True]])
    found = pixel_by_pixel(Counted, jax.random.key(0), (1, 2, 2, 1), known=known, mask=mask)
    assert found.ravel().tolist() == [7, 8, 9, 7]
    # What is not under the mask is not known.
    other = known.at[0, 0, 1].set(100.0)
    np.testing.assert_array_equal(pixel_by_pixel(Counted, jax.random.key(0), (1, 2, 2, 1), known=other, mask=mask), found)
    with pytest.raises(InputError, match="give both, or neither"):
        pixel_by_pixel(Counted, jax.random.key(0), (1, 2, 2, 1), known=known)
