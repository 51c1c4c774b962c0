"""MUNIT's networks: sizes, what a content and a style are blind to, the order of means and deviations, and how they start."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.errors import SizeError
from jaxgen.models.translation import (
    ContentEncoder,
    HalvingDiscriminator,
    MultiScaleDiscriminator,
    MUNITAutoencoder,
    PooledStyleEncoder,
    StyledDecoder,
    munit_edges2shoes,
)

X = normal(3, 8, 8, 3)


def kernels(module: Any, *inputs: Any) -> dict[str, tuple[int, ...]]:
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return {name: layer["kernel"].shape for name, layer in shapes.items() if "kernel" in layer}


def test_the_layers_of_the_papers_networks() -> None:
    """Huang et al. 2018, appendix B.2: c7s1-64, d128, d256, R256 four times; c7s1-64, d128, d256, d256, d256, GAP, fc8."""
    x = jnp.zeros((1, 256, 256, 3))
    blocks = {f"block{i}_conv{j}": (3, 3, 256, 256) for i in range(4) for j in range(2)}
    start = {"in": (7, 7, 3, 64), "down0": (4, 4, 64, 128), "down1": (4, 4, 128, 256)}
    assert kernels(ContentEncoder(), x) == {**start, **blocks}
    style = {"down2": (4, 4, 256, 256), "down3": (4, 4, 256, 256), "style": (256, 8)}
    assert kernels(PooledStyleEncoder(), x) == {**start, **style}
    ends = {"up0": (5, 5, 256, 128), "up1": (5, 5, 128, 64), "out": (7, 7, 64, 3)}
    dense = {"mlp0": (8, 256), "mlp1": (256, 256), "mlp2": (256, 4 * 4 * 256)}
    assert kernels(StyledDecoder(), jnp.zeros((1, 64, 64, 256)), jnp.zeros((1, 8))) == {**blocks, **ends, **dense}
    assert kernels(HalvingDiscriminator(), x) == {
        "conv0": (4, 4, 3, 64),
        **{f"conv{i}": (4, 4, 32 * 2**i, 64 * 2**i) for i in (1, 2, 3)},
        "head": (1, 1, 512, 1),
    }


def test_the_parameters_of_the_authors_networks() -> None:
    """Counted of the authors' networks with their configuration (tests/peers/test_munit_peers.py)."""
    made = [jax.eval_shape(m.init, jax.random.key(0), jnp.zeros((1, 256, 256, 3)))["params"] for m in munit_edges2shoes()]
    assert [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in made] == [15_026_187, 8_271_171]


def test_the_shapes_of_contents_and_styles() -> None:
    module, x = MUNITAutoencoder(5, 2, 2, 3, 1, 4), jnp.zeros((2, 16, 24, 3))
    made = jax.eval_shape(module.init, jax.random.key(0), x)
    content, style = jax.eval_shape(functools.partial(module.apply, method="encode"), made, x)
    assert (content.shape, style.shape) == ((2, 4, 6, 8), (2, 5))
    assert jax.eval_shape(module.apply, made, x).shape == x.shape


@pytest.mark.parametrize(
    ("fields", "shape", "told"),
    [
        ({"halvings": 2}, (12, 8), None),
        ({"halvings": 2}, (10, 8), "cannot be halved 2 times to contents .* give a --side that is a multiple of 4, 8 or more"),
        ({"halvings": 2}, (4, 4), "cannot be halved 2 times to contents of two pixels or more"),
        ({"style_halvings": 4}, (8, 8), "cannot be halved 4 times for their styles; give fewer --style-halvings"),
    ],
)
def test_sides_that_do_not_fit_are_refused(fields: Any, shape: tuple[int, int], told: str | None) -> None:
    module = MUNITAutoencoder(**{"width": 1, "halvings": 1, "style_halvings": 2, "blocks": 1, **fields})
    make = functools.partial(jax.eval_shape, module.init, jax.random.key(0), jnp.zeros((1, *shape, 3)))
    if told is None:
        make()
        return
    with pytest.raises(SizeError, match=told):
        make()


def test_discriminators_of_several_sizes_refuse_images_that_are_too_small() -> None:
    module = MultiScaleDiscriminator(functools.partial(HalvingDiscriminator, 2, 2), 2)
    logits = jax.eval_shape(module.init_with_output, jax.random.key(0), jnp.zeros((1, 16, 12, 3)))[0]
    assert [a.shape for a in logits] == [(1, 4, 3, 1), (1, 2, 1, 1)]
    with pytest.raises(SizeError, match="Images of 3x3 cannot be halved 2 times by a discriminator; give fewer --layers, or"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 6, 6, 3)))


def test_a_content_is_blind_to_contrast_and_a_style_is_not() -> None:
    content, style = ContentEncoder(1, 1, 2), PooledStyleEncoder(3, 2, 2)
    brighter = 3 * X + 0.5
    for module, blind in ((content, True), (style, False)):
        variables = filled(module, X)
        before, after = (np.asarray(jax.jit(module.apply)(variables, x)) for x in (X, brighter))
        assert (np.abs(after - before).max() < 0.01) == blind


def test_a_style_holds_the_means_and_then_the_deviations_of_each_convolution() -> None:
    """With a last layer that gives chosen moments, whatever the style: of the only block's second convolution they are seen."""
    module, content, style = StyledDecoder(0, 1, 2, 2), normal(2, 6, 6, 2), normal(2, 3)
    variables = filled(module, content, style)
    mean, std = jnp.array([0.3, -0.2]), jnp.array([0.5, 0.7])
    last = {"kernel": jnp.zeros((2, 8)), "bias": jnp.concatenate([jnp.array([5.0, 5.0, 1.0, 1.0]), mean, std])}
    inner = jnp.zeros((7, 7, 2, 2)).at[3, 3].set(jnp.eye(2))
    out = {"kernel": inner, "bias": jnp.zeros(2)}
    params = {**variables["params"], "mlp2": last, "out": out}
    made = jnp.arctanh(jax.jit(module.apply)({"params": params}, content / 10, style)) - content / 10
    np.testing.assert_allclose(made.mean((1, 2)), jnp.broadcast_to(mean, (2, 2)), atol=1e-4)
    np.testing.assert_allclose(made.std((1, 2)), jnp.broadcast_to(std, (2, 2)), atol=1e-3)


def test_each_image_by_itself_and_half_precision_ends_in_float32() -> None:
    module = MUNITAutoencoder(2, 2, 1, 2, 1, 3)
    variables = filled(module, X)
    apply = jax.jit(module.apply)
    whole = apply(variables, X)
    np.testing.assert_allclose(apply(variables, X[1:2])[0], whole[1], atol=1e-4)
    half = jax.jit(module.clone(dtype=jnp.bfloat16).apply)(variables, X)
    assert half.dtype == jnp.float32
    assert 1e-6 < float(jnp.abs(half - whole).max()) < 0.5


@pytest.mark.slow
def test_how_networks_start() -> None:
    """Kaiming's normal law by the inputs, two hundredths in discriminators, and gains evenly from 0 to 1."""
    params = jax.jit(MUNITAutoencoder(8, 16, 2, 2, 1, 64).init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    for part, layer, inputs in (("content", "down1", 16 * 32), ("style", "down0", 16 * 16), ("decoder", "mlp2", 64)):
        assert params[part][layer]["kernel"].std() == pytest.approx(np.sqrt(2 / inputs), rel=0.05)
        assert np.abs(params[part][layer]["kernel"]).max() > 2.6 * np.sqrt(2 / inputs), "not cut off"
        assert not params[part][layer]["bias"].any()
    gains = np.concatenate([params["decoder"][f"up{i}_norm"]["scale"] for i in range(2)])
    assert 0 <= gains.min() < 0.2 < 0.8 < gains.max() <= 1
    judge = jax.jit(HalvingDiscriminator(2, 16).init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    assert judge["conv1"]["kernel"].std() == pytest.approx(0.02, rel=0.05)
