"""The path lengths of a generator with styles whose images are linear in w, and its pictures."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

import jaxgen
from jaxgen.analysis import styles
from jaxgen.analysis.styles import PSIS, Embedding, smaller, style_model

A = normal(3, 16)


class Linear(nn.Module):
    """Latents are their own w; images are 2 w A + 1 of the mean over the two layers, so that in [0, 1] they are w A + 1."""

    layers: int = 2

    def styles(self, z: Any, *, psi: Any, truncated: int, train: bool = False) -> Any:
        return psi * jnp.repeat(z[:, None], 2, axis=1)

    def synthesise(self, w: Any, *, lod: Any, key: Any, train: bool = False) -> Any:
        noise = jax.vmap(lambda k: jax.random.normal(k, (4, 4, 1)))(jnp.broadcast_to(key, len(w)))
        return (2 * w.mean(1) @ A + lod).reshape(-1, 4, 4, 1) + 100 * noise


def test_a_linear_generator_has_the_closed_path_length_and_noise_none() -> None:
    """E |A (w_1 - w_0)|^2 = 2 |A|^2 of normal w, where both ends of a step have the same noise."""
    model = style_model(Linear(), 3, lod=lambda state: jnp.float32(1.0))
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), {"generator": {}}, {}, {}, {})
    found = model.path_length(5000)(state, jax.random.key(1), lambda x, **_: x)
    assert set(found) == {f"path_length_pixels_{space}{end}" for space in "zw" for end in ("", "_stderr")}
    # Without the longest hundredth the mean is some percent smaller.
    expected = 2 * float(jnp.square(A).sum())
    assert 0.9 * expected < found["path_length_pixels_w"] < 1.0 * expected


class Tripled(nn.Module):
    """Three times the pixels of images in [-1, 1], which are six times those in [0, 1]; the factor is a parameter."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return (self.param("factor", nn.initializers.ones, ()) * x).reshape(len(x), -1)


def test_lengths_in_the_vectors_of_a_network() -> None:
    """Of the mean of all lengths, E 36 |A (w_1 - w_0)|^2 = 72 |A|^2; without one in a hundred it is a little less."""
    model = style_model(Linear(), 3, lod=lambda state: jnp.float32(1.0))
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), {"generator": {}}, {}, {}, {})
    embedding = Embedding(Tripled(), lambda: {"factor": jnp.float32(3.0)}, "tripled")
    found = model.path_length(3000, embedding)(state, jax.random.key(1), lambda x, **_: x)
    assert set(found) == {f"path_length_tripled_{space}{end}" for space in "zw" for end in ("", "_stderr")}
    expected = 72 * float(jnp.square(A).sum())
    assert 0.88 * expected < found["path_length_tripled_w"] < 1.0 * expected


def test_a_network_sees_large_images_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(styles, "MOST", 2)
    model = style_model(Linear(), 3, lod=lambda state: jnp.float32(1.0))
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), {"generator": {}}, {}, {}, {})
    embedding = Embedding(Tripled(), lambda: {"factor": jnp.float32(3.0)}, "tripled")
    found = model.path_length(500, embedding)(state, jax.random.key(1), lambda x, **_: x)
    expected = 72 * float(jnp.square(A.reshape(3, 2, 2, 2, 2).mean((2, 4))).sum())
    assert 0.75 * expected < found["path_length_tripled_w"] < 1.2 * expected


@pytest.mark.parametrize(("side", "factor"), [(255, 1), (511, 1), (512, 2), (1024, 4)])
def test_large_images_are_seen_as_means_of_blocks(side: int, factor: int) -> None:
    """As in the authors' code: the side divided by 256, rounded down."""
    x = np.arange(side * side, dtype=np.float32).reshape(1, side, side, 1)
    found = np.asarray(smaller(jnp.asarray(x)))
    assert found.shape == (1, side // factor, side // factor, 1)
    np.testing.assert_allclose(found[0, 1, 2, 0], x[0, factor : 2 * factor, 2 * factor : 3 * factor].mean(), rtol=1e-6)


def test_the_pictures_show_one_noise_and_every_psi() -> None:
    model = style_model(Linear(), 3, lod=lambda state: jnp.float32(1.0))
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), {"generator": {}}, {}, {}, {})
    pictures = {name: draw(state, jax.random.key(2)) for name, draw in model.pictures().items()}
    assert {name: len(p.images) for name, p in pictures.items()} == {
        "samples": 128,
        "interpolations": 128,
        "mixing": 7 * 16,
        "truncation": 16 * len(PSIS),
    }
    assert all(p.columns == 16 for p in pictures.values())
    rows = np.asarray(pictures["mixing"].images).reshape(7, 16, 4, 4)
    assert (rows[0, 0] == 1).all()
    zero = np.asarray(pictures["truncation"].images).reshape(len(PSIS), 16, -1)[PSIS.index(0.0)]
    np.testing.assert_array_equal(zero, np.broadcast_to(zero[0], zero.shape))
