"""CLIP's encoders: the published numbers of parameters, and what a text's vector depends on."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.models.clip import CLIP, ResNet
from jaxgen.models.transformers import TextTransformer, VisionTransformer

TEXT = TextTransformer(20, length=9, width=8, depth=2, heads=2, outputs=4)
TOKENS = jnp.array([[1, 5, 6, 7, 2, 0, 0, 0, 0], [1, 9, 2, 0, 0, 0, 0, 0, 0]], jnp.int32)


def parameters(module: nn.Module, *inputs: Any) -> int:
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return sum(math.prod(s.shape) for s in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("image", "dimension", "published"),
    [
        # What the authors' released models have, all weights counted.
        (VisionTransformer(patch=32), 512, 151_277_313),
        (VisionTransformer(patch=16), 512, 149_620_737),
        (ResNet(), 1024, 102_007_137),
    ],
    ids=["ViT-B/32", "ViT-B/16", "RN50"],
)
def test_parameters_are_as_many_as_the_released_models_have(image: nn.Module, dimension: int, published: int) -> None:
    x, tokens = jnp.zeros((1, 224, 224, 3)), jnp.zeros((1, 77), jnp.int32)
    assert parameters(CLIP(image, TextTransformer(49408, outputs=dimension)), x, tokens) == published


def test_parameters_of_the_visual_tower_in_closed_form() -> None:
    w, d, p, c = 768, 12, 32, 512
    block = 4 * (w * w + w) + 2 * 4 * w * w + 5 * w + 4 * w
    expected = p * p * 3 * w + w + 50 * w + 4 * w + d * block + w * c
    assert expected == 87_849_216
    assert parameters(VisionTransformer(), jnp.zeros((1, 224, 224, 3))) == expected


def test_temperature_starts_where_the_papers_does_and_vectors_are_float32() -> None:
    image = VisionTransformer(4, 8, 1, 2, 4, dtype=jnp.bfloat16)
    text = TextTransformer(20, 9, 8, 1, 2, 4, dtype=jnp.bfloat16)
    model = CLIP(image, text)
    x = normal(2, 8, 8, 3)
    whole = CLIP(VisionTransformer(4, 8, 1, 2, 4), TextTransformer(20, 9, 8, 1, 2, 4))
    variables = jax.jit(whole.init)(jax.random.key(0), x, TOKENS)
    assert variables["params"]["logit_scale"] == pytest.approx(math.log(1 / 0.07))
    with jax.numpy_dtype_promotion("standard"):  # within jax.nn.dot_product_attention
        u, v, scale = jax.jit(model.apply)(variables, x, TOKENS)
    assert scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert u.dtype == v.dtype == jnp.float32
    assert u.shape == v.shape == (2, 4)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    for half, full in zip((u, v), jax.jit(whole.apply)(variables, x, TOKENS)[:2], strict=True):
        assert 0 < np.abs(half - full).max() < 0.05 * np.abs(full).max()


def test_padding_changes_no_text() -> None:
    params = filled(TEXT, TOKENS)
    apply = jax.jit(TEXT.apply)
    y = apply(params, TOKENS)
    # Neither its length ...
    np.testing.assert_allclose(apply(params, TOKENS[:, :5]), y, rtol=1e-5, atol=1e-6)
    # ... nor what it is.
    np.testing.assert_array_equal(apply(params, TOKENS.at[:, 5:].set(7)), y)
    np.testing.assert_allclose(apply(params, TOKENS[1:, :3]), y[1:], rtol=1e-5, atol=1e-6)


def test_every_word_its_place_and_nothing_but_the_text_counts() -> None:
    params = filled(TEXT, TOKENS)
    apply = jax.jit(TEXT.apply)
    y = apply(params, TOKENS)
    for position in (1, 2, 3):
        assert np.abs(apply(params, TOKENS.at[0, position].set(11)) - y)[0].max() > 1e-4
    swapped = TOKENS.at[0, 1:3].set(jnp.array([6, 5], jnp.int32))
    assert np.abs(apply(params, swapped) - y)[0].max() > 1e-4
    np.testing.assert_array_equal(apply(params, swapped)[1], y[1])
    with pytest.raises(ValueError, match="longer than the 9"):
        TEXT.apply(params, jnp.zeros((1, 10), jnp.int32))


def test_every_patch_and_its_place_counts() -> None:
    model = VisionTransformer(4, 8, 2, 2, 4)
    x = normal(2, 8, 12, 3)
    params = filled(model, x)
    apply = jax.jit(model.apply)
    y = apply(params, x)
    for i, j in [(0, 0), (7, 11), (4, 3)]:
        assert np.abs(apply(params, x.at[0, i, j].add(3.0)) - y)[0].max() > 1e-4
    swapped = x.at[:, :, :4].set(x[:, :, 4:8]).at[:, :, 4:8].set(x[:, :, :4])
    assert np.abs(apply(params, swapped) - y).max() > 1e-4
    np.testing.assert_allclose(apply(params, x[:1]), y[:1], rtol=1e-5, atol=1e-5)
    # Read off at the class token: without places the patches' order is lost.
    placeless = {"params": {**params["params"], "positions": jnp.zeros((7, 8))}}
    np.testing.assert_allclose(apply(placeless, swapped), apply(placeless, x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="7x12 cannot be cut into patches of 4x4"):
        model.init(jax.random.key(0), jnp.zeros((1, 7, 12, 3)))


def test_residual_network_pools_what_its_stages_leave() -> None:
    model = ResNet((1, 1), width=4, heads=2, outputs=5)
    x = normal(2, 16, 24, 3)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    assert shapes["pool"]["positions"].shape == (2 * 3 + 1, 32)
    variables = filled(model, x)
    variables["batch_stats"] = jax.tree.map(jnp.ones_like, variables["batch_stats"])
    apply = jax.jit(model.apply)
    y = apply(variables, x)
    assert y.shape == (2, 5)
    assert np.abs(apply(variables, x.at[0, 15, 23].add(9.0)) - y)[0].max() > 1e-5
    start = jax.jit(model.init)(jax.random.key(0), x)["params"]
    assert (start["stage_1_0"]["BatchNorm_2"]["BatchNorm_0"]["scale"] == 0).all()
    with pytest.raises(ValueError, match="vanish where 8 pixels become one"):
        model.init(jax.random.key(0), jnp.zeros((1, 7, 16, 3)))


def test_gradients_reach_every_parameter() -> None:
    model = CLIP(VisionTransformer(4, 8, 1, 2, 4, remat=True), TEXT)
    x = normal(2, 8, 8, 3)
    params = filled(model, x, TOKENS)["params"]

    def value(params: Any) -> jax.Array:
        u, v, scale = model.apply({"params": params}, x, TOKENS)
        return (scale * u * v).sum()

    grads = jax.jit(jax.grad(value))(params)
    # A softmax does not see what all keys share.
    for path, g in jax.tree_util.tree_leaves_with_path(grads):
        if "key" not in jax.tree_util.keystr(path) or "bias" not in jax.tree_util.keystr(path):
            assert np.abs(g).max() > 0, jax.tree_util.keystr(path)
