"""Pictures of models without an encoder: arithmetic and labels in a grid, densities of points."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxgen
from jaxgen.analysis import latent_space, points


def drawn(z):
    """A decoder that writes the code into the image."""
    return z.reshape(-1, 1, z.shape[-1], 1)


def test_arithmetic_gives_each_sum_below_its_parts() -> None:
    a, b, c = (jnp.array(np.random.default_rng(i).normal(size=(3, 2)), jnp.float32) for i in range(3))
    rows = np.asarray(latent_space.arithmetic(drawn, a, b, c)).reshape(3, 4, 2)
    for i in range(3):
        np.testing.assert_allclose(rows[i], [a[i], b[i], c[i], a[i] - b[i] + c[i]], rtol=1e-6)


def test_labels_are_rows_and_codes_columns() -> None:
    z = jnp.array([[1.0], [2.0], [3.0]])
    images = latent_space.by_label(lambda z, label: (z[:, 0] + 10 * label.astype(jnp.float32)).reshape(-1, 1, 1, 1), z, 2)
    np.testing.assert_allclose(images.reshape(2, 3), [[1, 2, 3], [11, 12, 13]])


def test_prior_album() -> None:
    state = jaxgen.TrainState(jnp.int32(1234), jax.random.key(0), {}, {}, {}, {})
    album = latent_space.prior_album(lambda state, z: drawn(z), lambda key, n: jax.random.normal(key, (n, 2)))
    pictures = {name: picture(state, jax.random.key(1)) for name, picture in album.items()}
    assert set(pictures) == {"samples", "interpolations", "arithmetic"}
    assert all("1,234" in p.caption and len(p.images) % p.columns == 0 for p in pictures.values())
    lines = np.asarray(pictures["interpolations"].images).reshape(8, 16, 2)
    np.testing.assert_allclose(np.diff(lines, n=2, axis=1), 0, atol=1e-5)
    blocks = np.asarray(pictures["arithmetic"].images).reshape(16, 4, 2)
    np.testing.assert_allclose(blocks[:, 0] - blocks[:, 1] + blocks[:, 2], blocks[:, 3], atol=1e-5)


def test_densities_point_up_and_right() -> None:
    # Three points to the upper left, one to the lower right, one outside.
    x = jnp.array([[-0.9, 0.9]] * 3 + [[0.9, -0.9], [5.0, 0.0]])
    image = np.asarray(points.density(x, extent=1.0, bins=4))
    assert image.shape == (4, 4, 1)
    assert image[0, 0, 0] == 1
    np.testing.assert_allclose(image[3, 3, 0], np.log(2) / np.log(4), rtol=1e-6)
    assert np.count_nonzero(image) == 2
    assert not np.asarray(points.density(jnp.array([[9.0, 9.0]]), extent=1.0)).any()
