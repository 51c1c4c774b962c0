"""The networks of progressive GAN and StyleGAN against the classes of genforce, which load the authors' weights.

JAXGEN_GENFORCE=/path/of/a/checkout/of/genforce/genforce pytest -m peers tests/peers/test_genforce_peers.py
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal
from peers import authors

from jaxgen.models.gan import progressive, stylegan

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

pytestmark = pytest.mark.peers

# From 32x32 down to 4x4; theirs has the channels base / side, at most `fmaps_max`.
SIDE, CHANNELS, LATENTS, BATCH = 32, (8, 8, 6, 3), 10, 8
SIZES: dict[str, Any] = {"resolution": SIDE, "fmaps_base": 96, "fmaps_max": 8}
LODS = (0.0, 0.5, 1.0, 1.3, 2.75, 3.0)


@pytest.fixture(scope="module")
def theirs() -> Any:
    return authors.genforce()


def tensor(a: Any) -> Any:
    return torch.from_numpy(np.array(a))


def nchw(a: Any) -> Any:
    return tensor(a).permute(0, 3, 1, 2)


def put(parameter: Any, value: Any) -> None:
    with torch.no_grad():
        assert parameter.shape == value.shape
        parameter.copy_(value)


def put_conv(layer: Any, ours: Any) -> None:
    put(layer.weight, tensor(ours["kernel"]).permute(3, 2, 0, 1))
    if "bias" in ours:
        put(layer.bias, tensor(ours["bias"]))


def put_dense(layer: Any, ours: Any) -> None:
    put(layer.weight, tensor(ours["kernel"]).T)
    put(layer.bias, tensor(ours["bias"]))


def variables(model: Any, *inputs: Any, **named: Any) -> Any:
    """Standard normal kernels, as the equalised rate has them, and biases and weights of noise that are not zero."""
    small = filled(model, *inputs, **named)

    def scaled(path: Any, leaf: Any) -> Any:
        return normal(*leaf.shape, seed=len(path) + leaf.size) if path[-1].key == "kernel" else 0.3 * leaf

    return jax.tree_util.tree_map_with_path(scaled, small)


def close(ours: Any, theirs: Any) -> None:
    expected = theirs.detach().numpy()
    assert np.abs(np.asarray(ours) - expected).max() / np.abs(expected).max() < 1e-4
    assert expected.std() > 0


def copied_discriminator(model: Any, params: Any) -> Any:
    last = len(CHANNELS) - 1
    for level in range(last + 1):
        number = last - level
        put_conv(getattr(model, f"input{number}"), params[f"from_rgb_{level}"]["conv"]["layer"])
        block = params[f"blocks_{level}"]
        if level:
            for i in range(2):
                put_conv(getattr(model, f"layer{2 * number + i}"), block[f"conv{i}"]["layer"])
            continue
        put_conv(getattr(model, f"layer{2 * number}"), block["conv"]["layer"])
        dense = block["dense0"]["layer"]
        # Theirs flattens maps with the channels first.
        kernel = tensor(dense["kernel"]).reshape(4, 4, CHANNELS[0], -1).permute(3, 2, 0, 1).flatten(1)
        put(getattr(model, f"layer{2 * number + 1}").weight, kernel)
        put(getattr(model, f"layer{2 * number + 1}").bias, tensor(dense["bias"]))
        put_dense(getattr(model, f"layer{2 * number + 2}"), block["dense1"]["layer"])
    return model.eval()


@pytest.mark.parametrize("kind", ["PGGAN", "StyleGAN"])
def test_the_discriminator_judges_as_theirs(theirs: Any, kind: str) -> None:
    model = progressive.Discriminator(CHANNELS, blur=kind == "StyleGAN")
    x = normal(BATCH, SIDE, SIDE, 3)
    own = variables(model, x)
    other = getattr(theirs, f"{kind}Discriminator")(minibatch_std_group_size=4, **SIZES)
    other = copied_discriminator(other, own["params"])
    judge = jax.jit(lambda lod: model.apply(own, x, lod=lod))
    for lod in LODS:
        other.lod.fill_(lod)
        expected = other(nchw(x))[:, 0]
        close(judge(jnp.float32(lod)), expected)


def test_the_generator_of_progressive_gan_makes_the_images_of_theirs(theirs: Any) -> None:
    model = progressive.Generator((SIDE, SIDE, 3), CHANNELS)
    z = normal(BATCH, LATENTS)
    own = variables(model, z)
    params = own["params"]
    other = theirs.PGGANGenerator(z_space_dim=LATENTS, **SIZES).eval()
    for level in range(len(CHANNELS)):
        block = params[f"blocks_{level}"]
        put_conv(getattr(other, f"output{level}"), params[f"to_rgb_{level}"]["conv"]["layer"])
        put_conv(getattr(other, f"layer{2 * level + 1}"), block["conv1"]["layer"])
        if level:
            put_conv(getattr(other, f"layer{2 * level}"), block["conv0"]["layer"])
    # Their dense layer is a convolution of one pixel that is padded: it sees its kernel turned round.
    first = params["blocks_0"]
    kernel = tensor(first["dense"]["layer"]["kernel"]).reshape(LATENTS, 4, 4, CHANNELS[0]).permute(3, 0, 1, 2)
    put(other.layer0.weight, kernel.flip(2, 3))
    put(other.layer0.bias, tensor(first["bias"]))
    make = jax.jit(lambda lod: model.apply(own, z, lod=lod))
    for lod in LODS:
        expected = other(tensor(z), lod=lod)["image"].permute(0, 2, 3, 1)
        close(make(jnp.float32(lod)), expected)


def copied_generator(model: Any, params: Any) -> Any:
    for i in range(model.mapping_layers):
        put_dense(getattr(model.mapping, f"dense{i}"), params["mapping"][f"dense{i}"]["layer"])
    for level in range(len(CHANNELS)):
        block = params[f"blocks_{level}"]
        put_conv(getattr(model.synthesis, f"output{level}"), params[f"to_rgb_{level}"]["conv"]["layer"])
        for i in range(2):
            layer, own = getattr(model.synthesis, f"layer{2 * level + i}"), block[f"layer{i}"]
            if level == i == 0:
                put(layer.const, nchw(block["constant"][None]))
            else:
                put_conv(layer, block[f"conv{i}"]["layer"])
            put(layer.bias, tensor(own["bias"]))
            put(layer.apply_noise.weight, tensor(own["noise"]["weight"]))
            put_dense(layer.style, own["style"]["layer"])
    return model.eval()


@pytest.mark.parametrize(("psi", "truncated"), [(1.0, 8), (0.6, 3)])
def test_stylegan_makes_the_images_of_theirs(theirs: Any, psi: float, truncated: int) -> None:
    model = stylegan.Generator((SIDE, SIDE, 3), CHANNELS, LATENTS, mapping_depth=3)
    z, keys = normal(BATCH, LATENTS), jax.random.split(jax.random.key(1), BATCH)
    own = variables(model, z)
    other = theirs.StyleGANGenerator(
        z_space_dim=LATENTS, w_space_dim=LATENTS, mapping_fmaps=LATENTS, mapping_layers=3, fused_scale=False, **SIZES
    )
    other = copied_generator(other, own["params"])
    other.truncation.w_avg.copy_(tensor(own["averages"]["average"]["mean"]))
    assert float(jnp.abs(own["averages"]["average"]["mean"]).min()) > 0
    for i, noise in enumerate(stylegan.layer_noise(keys, (SIDE, SIDE), len(CHANNELS), BATCH)):
        apply_noise = getattr(other.synthesis, f"layer{i}").apply_noise
        apply_noise.noise = nchw(noise)
        assert float(apply_noise.weight.detach().abs().min()) > 0

    @jax.jit
    def make(lod: Any) -> Any:
        w = model.apply(own, z, psi=psi, truncated=truncated, method="styles")
        return w, model.apply(own, w, lod=lod, key=keys, method="synthesise")

    for lod in LODS:
        result = other(tensor(z), lod=lod, trunc_psi=psi, trunc_layers=truncated)
        w, images = make(jnp.float32(lod))
        close(w, result["wp"])
        close(images, result["image"].permute(0, 2, 3, 1))


def test_gradients_and_the_penalty_of_the_discriminator_are_theirs(theirs: Any) -> None:
    """R1 differentiates twice through the blur, the standard deviation and the levels that fade."""
    model, lod = progressive.Discriminator(CHANNELS, blur=True), 0.5
    x = normal(BATCH, SIDE, SIDE, 3)
    own = variables(model, x)
    other = copied_discriminator(theirs.StyleGANDiscriminator(minibatch_std_group_size=4, **SIZES), own["params"])

    def penalty(params: Any, lod: Any) -> Any:
        slope = jax.grad(lambda x: model.apply({"params": params}, x, lod=lod).sum())(x)
        return jnp.square(slope).sum() / BATCH

    value, grads = jax.jit(jax.value_and_grad(penalty))(own["params"], jnp.float32(lod))
    images = nchw(x).requires_grad_()
    slope = torch.autograd.grad(other(images, lod=lod).sum(), images, create_graph=True)[0]
    expected = slope.square().sum() / BATCH
    expected.backward()
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-4)
    close(grads["blocks_3"]["conv0"]["layer"]["kernel"], other.layer0.weight.grad.permute(2, 3, 1, 0))
    close(grads["blocks_0"]["conv"]["layer"]["kernel"], other.layer6.weight.grad.permute(2, 3, 1, 0))
    close(grads["from_rgb_2"]["conv"]["layer"]["kernel"], other.input1.weight.grad.permute(2, 3, 1, 0))


def test_the_numbers_of_parameters_at_full_size_are_theirs(theirs: Any) -> None:
    def size(model: Any) -> int:
        return sum(p.numel() for p in model.parameters())

    def count(model: Any, x: Any) -> int:
        shapes = jax.eval_shape(lambda key: model.init(key, x), jax.random.key(0))
        return sum(p.size for p in jax.tree.leaves(shapes["params"]))

    z, x = jnp.zeros((1, 512)), jnp.zeros((1, 1024, 1024, 3))
    with torch.device("meta"):
        others = [theirs.StyleGANGenerator(1024), theirs.StyleGANDiscriminator(1024)]
        others += [theirs.PGGANGenerator(1024), theirs.PGGANDiscriminator(1024)]
    ours = [*stylegan.paper(1024), *progressive.paper(1024)]
    assert [count(model, inputs) for model, inputs in zip(ours, (z, x, z, x), strict=True)] == [size(o) for o in others]
