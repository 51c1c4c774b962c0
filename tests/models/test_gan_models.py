"""Generators and discriminators: shapes, what Radford et al. prescribe, dropout, spectral norms and conditions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.models.gan import conditional, dcgan, mlp


def kernels(params) -> dict:
    return {jax.tree_util.keystr(p): v for p, v in jax.tree_util.tree_leaves_with_path(params) if "kernel" in str(p[-1])}


@pytest.mark.parametrize(
    ("shape", "channels"), [((8, 8, 1), (4, 3)), ((28, 28, 1), (4, 3)), ((32, 32, 3), (5, 4, 3)), ((64, 64, 3), (4, 3, 3, 2))]
)
def test_dcgan_reaches_every_side(shape, channels) -> None:
    z = normal(2, 6)
    generator = dcgan.Generator(shape, channels)
    variables = filled(generator, z)
    x, _ = jax.jit(lambda v, z: generator.apply(v, z, train=True, mutable=["batch_stats"]))(variables, z)
    assert x.shape == (2, *shape)
    assert float(abs(x).max()) <= 1
    discriminator = dcgan.Discriminator(channels[::-1])
    logits = jax.eval_shape(lambda x: discriminator.init_with_output(jax.random.key(0), x)[0], x)
    assert logits.shape == (2,)


@pytest.mark.parametrize(("shape", "count", "most"), [((28, 28, 1), 3, 2), ((8, 12, 1), 3, 2), ((7, 8, 1), 1, 0)])
def test_dcgan_refuses_a_side_that_it_cannot_reach(shape, count, most) -> None:
    for make in (
        lambda: dcgan.Generator(shape, (2,) * count).init(jax.random.key(0), normal(1, 2)),
        lambda: dcgan.Discriminator((2,) * count).init(jax.random.key(0), normal(1, *shape)),
    ):
        with pytest.raises(ValueError, match=f"can be halved {most} times, not {count}"):
            make()


def test_dcgan_normalises_all_but_the_named_layers_and_starts_small() -> None:
    generator = jax.jit(dcgan.Generator((16, 16, 1), (64, 32)).init)(jax.random.key(0), normal(1, 50))["params"]
    # After the dense layer and between the two convolutions, not at the output, which alone has a bias.
    assert {k: v["BatchNorm_0"]["scale"].shape for k, v in generator.items() if "BatchNorm" in k} == {
        "BatchNorm_0": (64,),
        "BatchNorm_1": (32,),
    }
    assert [k for k, v in sorted(generator.items()) if "bias" in v] == ["ConvTranspose_1"]
    discriminator = jax.jit(dcgan.Discriminator((32, 64, 64)).init)(jax.random.key(0), normal(1, 16, 16, 1))["params"]
    assert sorted(discriminator) == ["down0", "down1", "down2", "head", "norm1", "norm2"]
    for name, kernel in {**kernels(generator), **kernels(discriminator)}.items():
        assert float(kernel.std()) == pytest.approx(0.02, rel=0.15), name
    assert float(generator["BatchNorm_0"]["BatchNorm_0"]["scale"].mean()) == pytest.approx(1.0, abs=0.01)


def test_the_leak_is_a_fifth() -> None:
    """One pixel, one channel: below zero a map keeps 0.2 of its value."""
    discriminator = dcgan.Discriminator((1,), normalised=False)
    variables = filled(discriminator, normal(1, 2, 2, 1))
    x = normal(1, 2, 2, 1)
    bias = variables["params"]["down0"]["bias"]
    variables = {"params": {**variables["params"], "down0": {**variables["params"]["down0"], "bias": 0 * bias}}}
    head = variables["params"]["head"]
    on, off = (float(discriminator.apply(variables, s * x)[0] - head["bias"][0]) for s in (1.0, -1.0))
    assert sorted([abs(on / off), abs(off / on)]) == pytest.approx([0.2, 5.0], rel=1e-4)


def test_maxout_discriminator_drops_pixels_and_units_in_training_alone() -> None:
    model, x = mlp.MaxoutDiscriminator((6, 5), pieces=2), normal(3, 4, 4, 1)
    variables = filled(model, x)
    sure = model.apply(variables, x, train=False)
    np.testing.assert_array_equal(sure, model.apply(variables, x, train=False))
    drop = jax.jit(lambda key: model.apply(variables, x, train=True, rngs={"dropout": key}))
    draws = [drop(jax.random.key(i)) for i in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    with pytest.raises(Exception, match="dropout"):
        model.apply(variables, x, train=True)


def test_dense_players_make_points_and_images() -> None:
    z = normal(3, 5)
    for shape, output in [((2,), lambda x: x), ((4, 4, 1), nn.sigmoid)]:
        generator = mlp.Generator(shape, (7,), output=output)
        x = generator.apply(filled(generator, z), z)
        assert x.shape == (3, *shape)
        discriminator = mlp.Discriminator((7,))
        assert discriminator.apply(filled(discriminator, x), x).shape == (3,)
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1


def test_spectral_norm_bounds_every_layer() -> None:
    """After many power iterations the kernels that are applied have spectral norm one, whatever the parameters."""
    model, x = dcgan.Discriminator((3, 4), normalised=False, spectral=True), normal(2, 8, 8, 1)
    variables = filled(model, x)
    params = jax.tree.map(lambda p: 3 * p, variables["params"])
    stats = {"batch_stats": variables["batch_stats"]}
    call = jax.jit(lambda s: model.apply({"params": params, **s}, x, train=True, mutable=["batch_stats"]))
    for _ in range(60):
        _, stats = call(stats)
    for name, own in stats["batch_stats"].items():
        layer = name.removesuffix("_spectral")
        matrix = np.asarray(params[layer]["kernel"]).reshape(-1, params[layer]["kernel"].shape[-1])
        (sigma,) = (v for k, v in own.items() if k.endswith("sigma"))
        assert float(sigma) == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-3)
    # A larger kernel changes nothing, but where a bias is compared with it.
    bare = jax.tree_util.tree_map_with_path(lambda p, v: 0 * v if "bias" in str(p[-1]) else v, params)
    larger = jax.tree.map(lambda p: 2 * p, bare)
    judge = jax.jit(model.apply)
    np.testing.assert_allclose(judge({"params": bare, **stats}, x), judge({"params": larger, **stats}, x), rtol=1e-4, atol=1e-6)


class Sum(nn.Module):
    """Shows what it is given."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return x.reshape(x.shape[0], -1) @ jnp.arange(1.0, x[0].size + 1)


def test_a_conditional_discriminator_sees_the_label_in_every_pixel() -> None:
    x, label = jnp.zeros((3, 2, 2, 1)), jnp.array([0, 2, 1])
    planes = conditional.Discriminator(Sum(), 3).apply({}, x, label)
    # Channels (x, y0, y1, y2) of four pixels, with the weights 1 to 16.
    expected = [sum(4 * p + 2 + k for p in range(4)) for k in (0, 2, 1)]
    np.testing.assert_allclose(planes, expected)
    flat = conditional.Discriminator(Sum(), 3, planes=False).apply({}, x, label)
    np.testing.assert_allclose(flat, [5, 7, 6])
    points = conditional.Discriminator(Sum(), 3).apply({}, jnp.zeros((3, 2)), label)
    np.testing.assert_allclose(points, [3, 5, 4])


def test_a_conditional_generator_sees_z_and_the_labels_vector() -> None:
    model = conditional.Generator(Sum(), 3, width=2)
    z, label = normal(4, 2), jnp.array([0, 2, 1, 2])
    variables = filled(model, z, label)
    table = np.asarray(variables["params"]["Embed_0"]["embedding"])
    expected = np.concatenate([z, table[np.asarray(label)]], -1) @ np.arange(1.0, 5.0)
    np.testing.assert_allclose(model.apply(variables, z, label), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "model", [dcgan.Generator((8, 8, 1), (4, 3), dtype=jnp.bfloat16), mlp.Generator((4,), (3,), dtype=jnp.bfloat16)]
)
def test_generators_in_half_precision_give_float32(model) -> None:
    z = normal(2, 3)
    variables = filled(model, z)
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))
    half = jax.jit(model.apply)(variables, z)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, jax.jit(model.clone(dtype=jnp.float32).apply)(variables, z), atol=0.05)


@pytest.mark.parametrize(
    "model", [dcgan.Discriminator((4, 3), spectral=True), mlp.MaxoutDiscriminator((4,), 2), mlp.Discriminator((4,))]
)
def test_discriminators_in_half_precision_give_float32(model) -> None:
    x = normal(2, 8, 8, 1)
    variables = filled(model, x)
    half = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, x)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, jax.jit(model.apply)(variables, x), atol=0.1)


def test_pooled_maps_are_the_largest_values_of_four_by_four_cells() -> None:
    rng = np.random.default_rng(0)
    large, odd, small = (rng.normal(size=(2, side, side, 3)).astype(np.float32) for side in (16, 14, 2))
    found = np.asarray(dcgan.pooled([jnp.asarray(large), jnp.asarray(odd), jnp.asarray(small)]))
    of_large = large.reshape(2, 4, 4, 4, 4, 3).max((2, 4)).reshape(2, -1)
    np.testing.assert_array_equal(found[:, :48], of_large)
    # 14 is no multiple of 4: cells of 4, of which those at the edges lie partly outside.
    padded = np.pad(odd, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    np.testing.assert_array_equal(found[:, 48:96], padded.reshape(2, 4, 4, 4, 4, 3).max((2, 4)).reshape(2, -1))
    np.testing.assert_array_equal(found[:, 96:], small.reshape(2, -1))


def test_the_maps_are_no_variables_of_the_discriminator() -> None:
    model, x = dcgan.Discriminator((2, 3)), normal(2, 8, 8, 1)
    variables = model.init(jax.random.key(0), x)
    assert sorted(variables) == ["batch_stats", "params"]
    logits, sown = model.apply(variables, x, mutable=["maps"])
    np.testing.assert_array_equal(logits, model.apply(variables, x))
    assert [a.shape for a in sown["maps"]["convolutions"][0]] == [(2, 4, 4, 2), (2, 2, 2, 3)]
