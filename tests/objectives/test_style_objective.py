"""The losses of style transfer against those written by hand in numpy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen import objectives

RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=(5, 4, 6, 3)).astype(np.float32) for _ in range(2))
BATCH = {"a": {"image": jnp.asarray(A)}, "b": {"image": jnp.asarray(B)}}
EPSILON = 1e-5


class Encoder(nn.Module):
    """Two layers of maps: a matrix at each pixel, and another one at each second pixel."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        first = nn.Dense(4, name="first")(x)
        return first, nn.Dense(2, name="second")(first[:, ::2, ::2])


class Decoder(nn.Module):
    """A matrix at each pixel, at twice the size."""

    @nn.compact
    def __call__(self, h: Any, *, train: bool = False) -> Any:
        return nn.Dense(3)(h).repeat(2, 1).repeat(2, 2)


def of(**options: Any) -> tuple[objectives.StyleLosses, dict[str, Any]]:
    networks = {
        "encoder": jaxgen.Network(Encoder(), jnp.zeros((1, 4, 6, 3))),
        "decoder": jaxgen.Network(Decoder(), jnp.zeros((1, 2, 3, 2))),
        "reconstructor": jaxgen.Network(Decoder(), jnp.zeros((1, 2, 3, 2))),
    }
    params, _ = jaxgen.initialize(networks)(jax.random.key(1))
    return objectives.style_transfer(Encoder(), Decoder(), Decoder(), **options), params


def dense(p: Any, x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) @ np.asarray(p["kernel"], np.float64) + np.asarray(p["bias"], np.float64)


def encode(params: Any, x: np.ndarray) -> list[np.ndarray]:
    first = dense(params["encoder"]["first"], x)
    return [first, dense(params["encoder"]["second"], first[:, ::2, ::2])]


def decode(params: Any, h: np.ndarray, name: str = "decoder") -> np.ndarray:
    return dense(params[name]["Dense_0"], h).repeat(2, 1).repeat(2, 2)


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.mean((1, 2), keepdims=True), np.sqrt(x.var((1, 2), keepdims=True) + EPSILON)


def adain(content: np.ndarray, style: np.ndarray) -> np.ndarray:
    (m, s), (mean, std) = moments(content), moments(style)
    return std * (content - m) / s + mean


def mean(x: np.ndarray) -> np.ndarray:
    return x.mean((1, 2, 3))


def by_hand(params: Any, content: np.ndarray, style: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    target = adain(encode(params, content)[-1], encode(params, style)[-1])
    image = decode(params, target)
    distance = sum(
        mean((a - b) ** 2)
        for x, y in zip(encode(params, image), encode(params, style), strict=True)
        for a, b in zip(moments(x), moments(y), strict=True)
    )
    return image, mean((encode(params, image)[-1] - target) ** 2), distance


def test_the_decoder_descends_the_content_and_the_moments_at_all_layers() -> None:
    losses, params = of(content=2.0, style=3.0)
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), params, {}, {}, {})
    values, aux = losses.decoder(params, state, BATCH, jax.random.key(1), train=True)
    image, content, style = by_hand(params, A, B)
    np.testing.assert_allclose(aux.metrics["content"], content, rtol=1e-4)
    np.testing.assert_allclose(aux.metrics["style"], style, rtol=1e-4)
    np.testing.assert_allclose(values, 2 * content + 3 * style, rtol=1e-4)
    np.testing.assert_allclose(losses.transfer(params, jnp.asarray(A), jnp.asarray(B)), image, atol=1e-4)
    terms = losses.towards(params, jnp.asarray(A), jnp.asarray(B))(jnp.asarray(image, jnp.float32))
    np.testing.assert_allclose(terms["content"], content, rtol=1e-3)
    np.testing.assert_allclose(terms["style"], style, rtol=1e-3)


def test_the_encoder_learns_to_reconstruct_both_sets_by_its_own_decoder() -> None:
    losses, params = of()
    state = jaxgen.TrainState(jnp.int32(0), jax.random.key(0), params, {}, {}, {})
    values, _ = losses.encoder(params, state, BATCH, jax.random.key(1), train=True)
    expected = sum(mean((decode(params, encode(params, x)[-1], "reconstructor") - x) ** 2) for x in (A, B))
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    gradient = jax.grad(lambda p: losses.encoder(p, state, BATCH, jax.random.key(1), train=True)[0].sum())(params)
    assert all(float(abs(leaf).max()) == 0 for leaf in jax.tree.leaves(gradient["decoder"]))


def test_the_strength_mixes_maps_of_the_content_with_the_target() -> None:
    losses, params = of()
    a, b = jnp.asarray(A), jnp.asarray(B)
    plain = decode(params, encode(params, A)[-1])
    np.testing.assert_allclose(losses.transfer(params, a, b, 0.0), plain, atol=1e-4)
    half = (plain + np.asarray(losses.transfer(params, a, b, 1.0))) / 2  # this decoder is affine
    np.testing.assert_allclose(losses.transfer(params, a, b, 0.5), half, atol=1e-4)


def test_an_image_of_its_own_style_keeps_its_maps() -> None:
    losses, params = of()
    a = jnp.asarray(A)
    np.testing.assert_allclose(losses.transfer(params, a, a), losses.transfer(params, a, a, 0.0), atol=1e-4)
    terms = losses.towards(params, a, a)(a)
    np.testing.assert_allclose(terms["content"], 0, atol=1e-8)
    np.testing.assert_allclose(terms["style"], 0, atol=1e-8)


def test_the_distance_of_styles_does_not_depend_on_where_pixels_lie() -> None:
    maps = [jnp.asarray(A), jnp.asarray(B[:, ::2])]
    moved = [m[:, ::-1, ::-1] for m in maps]
    np.testing.assert_allclose(objectives.style_distance(maps, moved), 0, atol=1e-8)
    shifted = objectives.style_distance([maps[0] + 2], [maps[0]])
    np.testing.assert_allclose(shifted, 4, rtol=1e-4)
    scaled = objectives.style_distance([3 * maps[0]], [maps[0]], epsilon=0.0)
    m, s = A.mean((1, 2)), A.std((1, 2))
    np.testing.assert_allclose(scaled, (4 * m**2).mean(-1) + (4 * s**2).mean(-1), rtol=1e-4)


def test_layers_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="zip"):
        objectives.style_distance([jnp.asarray(A)], [])
