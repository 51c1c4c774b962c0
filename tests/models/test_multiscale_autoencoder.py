"""The decoder of several resolutions: a sum of enlarged images and residuals; skips, and what is left without them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import SizeError
from jaxgen.models import autoencoders, cnn
from jaxgen.nn import likelihoods

SHAPE = (8, 12, 3)


def random(tree: Any) -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), jnp.float32), tree)


def test_an_image_is_the_smaller_one_enlarged_plus_a_residual() -> None:
    decoder = autoencoders.PyramidDecoder(SHAPE, (5, 4, 3))
    z = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6)), jnp.float32)
    params = random(decoder.init(jax.random.key(0), z)["params"])
    images = decoder.apply({"params": params}, z)
    assert [one.shape for one in images] == [(2, 2, 3, 3), (2, 4, 6, 3), (2, 8, 12, 3)]
    for level in (1, 2):
        # Without the residual's layer the image is the smaller one, each pixel four times.
        less = {**params, f"image{level}": jax.tree.map(jnp.zeros_like, params[f"image{level}"])}
        found = decoder.apply({"params": less}, z)
        expected = np.asarray(images[level - 1]).repeat(2, axis=1).repeat(2, axis=2)
        np.testing.assert_allclose(found[level], expected, atol=1e-6)
        assert np.abs(np.asarray(images[level]) - expected).max() > 0.1


@pytest.mark.parametrize("trunk", [cnn.VGG(((4,), (6,)), batch_norm=True), cnn.ResNet((4, 6), (1, 1))], ids=["vgg", "resnet"])
def test_skips_have_the_stated_channels_and_the_code_alone_sees_zeros(trunk: Any) -> None:
    decoder = autoencoders.PyramidDecoder(SHAPE, (6, 4), skip=2)
    encoder = autoencoders.trunk.Encoder(trunk)
    model = autoencoders.MultiscaleAutoencoder(encoder, decoder, likelihoods.GaussianLikelihood(std=1.0), 5)
    x = jnp.asarray(np.random.default_rng(1).uniform(size=(3, *SHAPE)), jnp.float32)
    own = model.init(jax.random.key(0), x)
    params = own["params"]
    assert [params["decoder"][f"skip{i}"]["kernel"].shape for i in (0, 1)] == [(1, 1, 6, 2), (1, 1, 4, 2)]
    assert params["decoder"]["level0"]["kernel"].shape == (3, 3, 6 + 2, 6)
    assert params["decoder"]["level1"]["kernel"].shape == (3, 3, 6 + 2, 4)
    params = {**params, "decoder": random(params["decoder"])}
    apply = lambda p, *args, method: model.apply({**own, "params": p}, *args, method=method)
    drawn = apply(params, x, method="scales")
    assert [one.mean.shape for one in drawn] == [(3, 4, 6, 3), (3, 8, 12, 3)]
    np.testing.assert_array_equal(drawn[-1].mean, apply(params, x, method="__call__").mean)
    alone = apply(params, apply(params, x, method="encode"), method="decode").mean
    assert np.abs(np.asarray(alone - drawn[-1].mean)).max() > 0.1
    closed = {name: jax.tree.map(jnp.zeros_like, p) if name.startswith("skip") else p for name, p in params["decoder"].items()}
    found = apply({**params, "decoder": closed}, x, method="scales")[-1].mean
    np.testing.assert_allclose(found, alone, atol=1e-5)


def test_without_skips_the_code_is_all_that_is_seen() -> None:
    decoder = autoencoders.PyramidDecoder(SHAPE, (6, 4))
    model = autoencoders.MultiscaleAutoencoder(autoencoders.mlp.Encoder((7,)), decoder, likelihoods.BernoulliLikelihood(), 5)
    x = jnp.asarray(np.random.default_rng(1).uniform(size=(3, *SHAPE)), jnp.float32)
    own = model.init(jax.random.key(0), x)
    whole = model.apply(own, x).mean
    np.testing.assert_array_equal(model.apply(own, model.apply(own, x, method="encode"), method="decode").mean, whole)


def test_sides_that_cannot_be_halved_without_a_rest_are_refused() -> None:
    decoder = autoencoders.PyramidDecoder((6, 8, 1), (4, 4, 4))
    with pytest.raises(SizeError, match=r"Images of 6x8 cannot be halved 2 times without a rest; .* multiples of 4"):
        decoder.init(jax.random.key(0), jnp.zeros((1, 3)))
    decoder = autoencoders.PyramidDecoder((8, 8, 1), (4, 4), skip=1)
    with pytest.raises(SizeError, match="A skip of 8x8 does not fit maps of 4x4"):
        decoder.init(jax.random.key(0), jnp.zeros((1, 3)), [jnp.zeros((1, 8, 8, 2)), jnp.zeros((1, 8, 8, 2))])
