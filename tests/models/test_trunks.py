"""VGG, ResNet and GoogLeNet as trunks: sides and numbers of parameters by the papers' tables; maps; statistics."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import SizeError
from jaxgen.models import autoencoders, cnn
from jaxgen.models.cnn import googlenet, vgg


def variables(model: nn.Module, side: int) -> dict:
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, side, side, 3))))


def count(params: dict) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def output(model: nn.Module, side: int) -> tuple[int, ...]:
    return jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), jnp.zeros((1, side, side, 3)))[0]).shape


@pytest.mark.parametrize("stages", [vgg.VGG16, vgg.VGG19])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg_has_the_convolutions_of_its_configuration(stages: vgg.Stages, batch_norm: bool) -> None:
    model = cnn.VGG(stages, batch_norm)
    assert output(model, 64) == (1, 2, 2, 512)
    flat = [3, *(channels for stage in stages for channels in stage)]
    expected = sum(9 * a * b + b * (3 if batch_norm else 1) for a, b in itertools.pairwise(flat))
    assert count(variables(model, 64)["params"]) == expected
    assert len(flat) == {vgg.VGG16: 14, vgg.VGG19: 17}[stages]


def test_deep_maps_are_those_before_the_last_maximum_of_images_in_imagenets_colours() -> None:
    """Written out; a network of three stages gives maps that are halved twice, and grey images are taken as colours."""
    assert [len(stage) for stage in vgg.TO_RELU5_3] == [2, 2, 3, 6]
    assert [stage[0] for stage in vgg.TO_RELU5_3] == [64, 128, 256, 512]
    stages = ((2,), (3, 3), (4,))
    model, trunk = vgg.DeepMaps(stages), vgg.VGG(stages)
    x = jnp.tanh(jax.random.normal(jax.random.key(1), (2, 8, 8, 3)))
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    found = jax.jit(model.apply)({"params": params}, x)
    assert found.shape == (2, 2, 2, 4)
    colours = ((np.asarray(x) + 1) / 2 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    expected = jax.jit(lambda p, x: trunk.apply({"params": p}, x, method="maps"))(
        params["trunk"], jnp.asarray(colours, jnp.float32)
    )
    np.testing.assert_allclose(found, expected[2], atol=1e-5)
    grey = jax.jit(lambda x: jnp.stack([model.apply({"params": params}, x), model.apply({"params": params}, x.repeat(3, -1))]))
    np.testing.assert_array_equal(*grey(x[..., :1]))
    with pytest.raises(SizeError, match=r"^Images of 8x4 are too small to be compared by VGG; .* sides are 8 or longer"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 4, 3)))


def test_resnets_have_the_blocks_of_their_table() -> None:
    """By the widths of table 1: each block's convolutions, two numbers a norm and channel, and shortcuts of 1x1."""
    small = cnn.ResNet()
    assert output(small, 32) == (1, 4, 4, 512)
    expected, inputs = 27 * 64 + 128, 64
    for width in (64, 128, 256, 512):
        for _ in range(2):
            expected += 9 * inputs * width + 9 * width * width + 4 * width
            expected += (inputs * width + 2 * width) if inputs != width else 0
            inputs = width
    assert count(variables(small, 32)["params"]) == expected
    deep = cnn.ResNet(blocks=(3, 4, 6, 3), bottleneck=True, large=True)
    assert output(deep, 64) == (1, 2, 2, 2048)
    expected, inputs = 147 * 64 + 128, 64
    for width, blocks in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for _ in range(blocks):
            expected += inputs * width + 9 * width * width + 4 * width * width + 12 * width
            expected += (4 * inputs * width + 8 * width) if inputs != 4 * width else 0
            inputs = 4 * width
    assert count(variables(deep, 64)["params"]) == expected


@pytest.mark.parametrize("torchvision", [False, True])
def test_googlenet_has_the_blocks_of_its_table(torchvision: bool) -> None:
    model = cnn.GoogLeNet(torchvision=torchvision)
    assert output(model, 64) == (1, 2, 2, 1024)
    expected, inputs = 147 * 64 + 64 * 64 + 9 * 64 * 192 + 2 * (64 + 64 + 192), 192
    for stage in googlenet.GOOGLENET:
        for one, three_in, three, five_in, five, pooled in stage:
            window = 9 if torchvision else 25
            expected += inputs * (one + three_in + five_in + pooled) + 9 * three_in * three + window * five_in * five
            expected += 2 * (one + three_in + three + five_in + five + pooled)
            inputs = one + three + five + pooled
    assert inputs == 1024
    assert count(variables(model, 64)["params"]) == expected


TRUNKS = {
    "vgg": cnn.VGG(((4, 4), (8,)), batch_norm=True),
    "resnet": cnn.ResNet((4, 8), (1, 1)),
    "inception": cnn.GoogLeNet(((googlenet.branches(8),), (googlenet.branches(16),)), (4,), large=False),
}


@pytest.mark.parametrize("name", ["vgg", "resnet", pytest.param("inception", marks=pytest.mark.slow)])
def test_maps_halve_their_side_and_the_last_are_the_output(name: str) -> None:
    model, x = TRUNKS[name], jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    own = model.init(jax.random.key(0), x)
    maps = model.apply(own, x, method="maps")
    assert [one.shape[1:3] for one in maps[:2]] == [(8, 8), (4, 4)]
    np.testing.assert_array_equal(model.apply(own, x), maps[-1])
    vector = autoencoders.trunk.Encoder(model)
    wrapped = {"params": {"trunk": own["params"]}, "batch_stats": {"trunk": own["batch_stats"]}}
    np.testing.assert_array_equal(vector.apply(wrapped, x), maps[-1].reshape(2, -1))
    np.testing.assert_allclose(vector.clone(mean=True).apply(wrapped, x), maps[-1].mean((1, 2)), rtol=1e-6)


@pytest.mark.parametrize("name", ["vgg", "resnet", pytest.param("inception", marks=pytest.mark.slow)])
def test_training_normalises_by_the_batch_and_evaluation_by_the_averages(name: str) -> None:
    model, rng = TRUNKS[name], np.random.default_rng(0)
    x = jnp.asarray(rng.normal(3.0, 2.0, size=(4, 8, 8, 3)), jnp.float32)
    own = model.init(jax.random.key(0), x)
    trained, updated = model.apply(own, x, train=True, mutable=["batch_stats"])
    alone = model.apply(own, x[:1], train=False)
    np.testing.assert_allclose(model.apply(own, x, train=False)[:1], alone, atol=1e-5)
    assert np.abs(np.asarray(trained[:1] - alone)).max() > 0.1
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), own["batch_stats"], updated["batch_stats"])
    assert all(jax.tree.leaves(changed))


def test_images_that_cannot_be_halved_so_often_are_refused() -> None:
    with pytest.raises(SizeError, match=r"Images of 8x8 cannot be halved 5 times; give the network fewer stages"):
        output(cnn.VGG(), 8)
    with pytest.raises(SizeError, match=r"Images of 2x2 cannot be halved 2 times"):
        output(cnn.GoogLeNet(((googlenet.branches(8),),) * 3, (4,), large=False), 2)


def test_half_precision_is_that_of_the_computation_alone() -> None:
    for model in (m.clone(dtype=jnp.bfloat16) for m in TRUNKS.values()):
        x = jnp.ones((1, 8, 8, 3))
        own = jax.eval_shape(lambda model=model, x=x: model.init_with_output(jax.random.key(0), x))
        assert own[0].dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves(own[1])} == {jnp.dtype(jnp.float32)}
