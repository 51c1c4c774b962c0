"""Encoders and decoders of every kind, and the autoencoder that joins them."""

import functools
import re
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.models import autoencoders
from jaxgen.models.autoencoders import Autoencoder, conv, mlp, residual
from jaxgen.nn import BernoulliLikelihood

KINDS = pytest.mark.parametrize("kind", [mlp, conv, residual], ids=lambda kind: kind.__name__.split(".")[-1])
SHAPES = pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (10, 6, 2)], ids=str)
REMATERIALIZED = pytest.mark.parametrize("kind", [conv, residual], ids=lambda kind: kind.__name__.split(".")[-1])
SMALL: dict[ModuleType, dict[str, Any]] = {
    mlp: {"hidden": (16, 12)},
    conv: {"channels": (4, 8)},
    residual: {"channels": (4, 8)},
}


def autoencoder(kind: ModuleType, shape: tuple[int, int, int], dtype: Any = jnp.float32, **options: Any) -> Autoencoder:
    options = {**SMALL[kind], "dtype": dtype, **options}
    return Autoencoder(kind.Encoder(**options), kind.Decoder(shape, **options), BernoulliLikelihood(), 3, dtype=dtype)


def images(*shape: int) -> jax.Array:
    return jnp.abs(jnp.sin(normal(*shape)))


def cross_entropy(model: nn.Module, params: Any, x: jax.Array) -> jax.Array:
    return -model.apply(params, x).log_prob(x).sum() / x.size


@functools.cache
def gradients(kind: ModuleType, **options: Any) -> tuple[Any, jax.Array]:
    if kind is residual:
        options["blocks"] = 0  # those that halve and double remain
    model, x = autoencoder(kind, (10, 6, 2), **options), images(3, 10, 6, 2)
    return jax.jit(jax.grad(lambda p, x: cross_entropy(model, p, x), (0, 1)))(filled(model, x), x)


@KINDS
@SHAPES
def test_encoder_gives_features_and_decoder_gives_images(kind: ModuleType, shape: tuple[int, int, int]) -> None:
    key = jax.random.key(0)
    features, _ = jax.eval_shape(kind.Encoder().init_with_output, key, jnp.zeros((5, *shape)))
    assert features.shape == (5, 200 if kind is mlp else 256)
    for channels in (1, 2):  # a likelihood may want several numbers an element
        out = (*shape[:2], channels * shape[2])
        decoded, _ = jax.eval_shape(kind.Decoder(out).init_with_output, key, jnp.zeros((5, 7)))
        assert decoded.shape == (5, *out)
        assert decoded.dtype == jnp.float32


@pytest.mark.parametrize("levels", [1, 2, 3])
@REMATERIALIZED
def test_sides_that_the_doublings_do_not_meet_are_cut(kind: ModuleType, levels: int) -> None:
    model = kind.Decoder((9, 13, 2), channels=(4,) * levels)
    decoded, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((2, 3)))
    assert decoded.shape == (2, 9, 13, 2)
    doublings = levels if kind is conv else levels - 1
    smallest = -(-9 // 2**doublings) * -(-13 // 2**doublings) * 4
    assert smallest in [p.shape[-1] for p in jax.tree.leaves(variables)]


@KINDS
def test_training_and_evaluation_are_alike(kind: ModuleType) -> None:
    model, x = autoencoder(kind, (8, 8, 1)), images(2, 8, 8, 1)
    variables = filled(model, x)
    assert set(variables) == {"params"}
    train, evaluate = (jax.jit(lambda v, x, t=t: model.apply(v, x, train=t).logits) for t in (True, False))
    np.testing.assert_array_equal(train(variables, x), evaluate(variables, x))


@KINDS
def test_every_pixel_and_parameter_matters(kind: ModuleType) -> None:
    by_params, by_pixels = gradients(kind)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(by_params))
    assert (np.abs(by_pixels) > 0).all()


@REMATERIALIZED
def test_rematerialisation_leaves_the_gradients(kind: ModuleType) -> None:
    plain, remat = gradients(kind), gradients(kind, remat=True)
    assert jax.tree.structure(plain) == jax.tree.structure(remat)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(remat), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("remat", [True, False])
@pytest.mark.parametrize(("kind", "layers"), [(conv, 4), (residual, 6)])
def test_each_layer_or_block_is_rematerialised_by_itself(kind: ModuleType, layers: int, remat: bool) -> None:
    model, x = autoencoder(kind, (8, 8, 1), remat=remat), images(2, 8, 8, 1)
    jaxpr = str(jax.make_jaxpr(model.apply)(filled(model, x), x))
    assert len(re.findall(r"= (?:remat\d*|checkpoint)\[", jaxpr)) == (layers if remat else 0)


@KINDS
def test_bfloat16_loss_is_float32_and_close_to_the_float32_one(kind: ModuleType) -> None:
    shape = (16, 16, 3)
    x = images(4, *shape)
    half, full = autoencoder(kind, shape, jnp.bfloat16), autoencoder(kind, shape)
    params = filled(half, x)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    loss = jax.jit(lambda p, x: cross_entropy(half, p, x))(params, x)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, jax.jit(lambda p, x: cross_entropy(full, p, x))(params, x), rtol=0.01)
    code, decoded = jax.eval_shape(lambda p, x: (half.apply(p, x, method="encode"), half.apply(p, x)), params, x)
    assert code.dtype == decoded.logits.dtype == jnp.float32
    # The networks themselves do compute in half precision.
    assert jax.eval_shape(half.encoder.init_with_output, jax.random.key(0), x)[0].dtype == jnp.bfloat16
    assert jax.eval_shape(half.decoder.init_with_output, jax.random.key(0), code)[0].dtype == jnp.bfloat16


def test_mlp_is_dense_layers_between_reshapes() -> None:
    x, z = images(2, 3, 2, 1), normal(2, 3, seed=1)
    encoder, decoder = mlp.Encoder(hidden=(5, 4)), mlp.Decoder((3, 2, 1), hidden=(4,))
    p, q = filled(encoder, x)["params"], filled(decoder, z)["params"]
    h = np.asarray(x).reshape(2, 6)
    for layer in ("Dense_0", "Dense_1"):
        h = np.tanh(h @ p[layer]["kernel"] + p[layer]["bias"])
    np.testing.assert_allclose(encoder.apply({"params": p}, x), h, rtol=1e-4, atol=1e-6)
    h = np.tanh(z @ q["Dense_0"]["kernel"] + q["Dense_0"]["bias"])
    h = (h @ q["Dense_1"]["kernel"] + q["Dense_1"]["bias"]).reshape(2, 3, 2, 1)
    np.testing.assert_allclose(decoder.apply({"params": q}, z), h, rtol=1e-4, atol=1e-6)


def test_mlp_decoder_starts_at_the_bias_it_is_given() -> None:
    logits = np.linspace(-2, 2, 6, dtype=np.float32)
    decoder = mlp.Decoder((3, 2, 1), hidden=(4,), bias_init=lambda key, shape, dtype: jnp.array(logits, dtype).reshape(shape))
    decoded, _ = decoder.init_with_output(jax.random.key(0), jnp.zeros((1, 2)))
    np.testing.assert_allclose(decoded[0].ravel(), logits, rtol=1e-6)


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("blocks", [0, 2])
def test_residual_networks_take_any_number_of_blocks_a_level(blocks: int, width: int) -> None:
    model = residual.Encoder(channels=(4, 8), blocks=blocks, width=width)
    features, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((2, 8, 8, 1)))
    assert features.shape == (2, width)
    assert sum(name.startswith("level") for name in variables["params"]) == 2 * blocks


def test_autoencoder_decodes_its_own_code() -> None:
    model, x = autoencoder(autoencoders.mlp, (4, 4, 1)), images(2, 4, 4, 1)
    params = filled(model, x)
    z = model.apply(params, x, method="encode")
    assert z.shape == (2, 3)
    np.testing.assert_array_equal(model.apply(params, x).logits, model.apply(params, z, method="decode").logits)
