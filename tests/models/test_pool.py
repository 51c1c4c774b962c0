"""The image pool against the procedure of its paper, image by image in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.translation import empty_pool, exchange

IMAGES = np.arange(1, 401, dtype=np.float32).reshape(400, 1, 1, 1)
KEYS = jax.random.split(jax.random.key(1), 400)


def passed(size: int, batch: int, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What is shown of 400 images in batches, and the pool at the end."""
    pool, shown = empty_pool((1, 1, 1), size=size), []
    step = jax.jit(lambda pool, x, k, m: exchange(pool, x, k, train=True, mask=m))
    mask = np.ones(400) if mask is None else mask
    for i in range(0, 400, batch):
        rows = slice(i, i + batch)
        out, pool = step(pool, jnp.asarray(IMAGES[rows]), KEYS[rows], jnp.asarray(mask[rows]))
        shown.append(np.asarray(out).ravel())
    return np.concatenate(shown), np.asarray(pool["images"]).ravel()


@pytest.mark.parametrize("masked", [False, True])
def test_a_pool_shows_new_images_until_it_is_full_and_old_ones_half_of_the_time(masked: bool) -> None:
    mask = np.random.default_rng(0).random(400) < 0.7 if masked else np.ones(400, bool)
    shown, left = passed(50, 8, mask)
    assert np.array_equal(shown[~mask], IMAGES.ravel()[~mask])
    real, new = shown[mask], IMAGES.ravel()[mask]
    assert np.array_equal(real[:50], new[:50])
    # The procedure, told which images were exchanged: an old one that is shown leaves, and the new one takes its place.
    pool = set(new[:50])
    for image, seen in zip(new[50:], real[50:], strict=True):
        assert seen == image or seen in pool
        if seen != image:
            pool = pool - {seen} | {image}
    assert pool == set(left)
    n = len(real) - 50
    assert abs((real[50:] != new[50:]).mean() - 0.5) < 4 * np.sqrt(0.25 / n)


def test_the_slot_of_an_exchange_is_uniform() -> None:
    full = {"images": jnp.arange(10.0).reshape(10, 1, 1, 1) - 100, "count": jnp.int32(10)}
    alone = jax.vmap(lambda x, k: exchange(full, x[None], k[None], train=True)[0])
    shown = np.asarray(alone(jnp.asarray(IMAGES), KEYS)).ravel()
    counts = np.array([(shown == i - 100).sum() for i in range(10)])
    assert counts.sum() == (shown < 0).sum()
    expected = counts.sum() / 10
    assert ((counts - expected) ** 2 / expected).sum() < 27.9  # chi-squared of 9, p = 0.001


def test_how_the_batches_are_cut_changes_nothing() -> None:
    for one, other in zip(passed(50, 1), passed(50, 40), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_pool_and_an_evaluation_show_what_is_new_and_no_gradient_passes() -> None:
    x, key = jnp.asarray(IMAGES[:4]), KEYS[:4]
    for size, train in ((0, True), (3, False)):
        shown, pool = exchange(empty_pool((1, 1, 1), size=size), x, key, train=train)
        np.testing.assert_array_equal(shown, x)
        assert pool["count"] == 0
    for train in (True, False):
        gradient = jax.grad(lambda x, train=train: exchange(empty_pool((1, 1, 1), size=3), x, key, train=train)[0].sum())(x)
        assert not gradient.any()
