"""The networks of progressive GAN and StyleGAN against the classes of genforce, which load the authors' weights.

JAXGEN_GENFORCE=/path/of/a/checkout/of/genforce/genforce pytest -m peers tests/peers/test_genforce_peers.py
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal
from peers import authors

from jaxgen.measuring import tensors
from jaxgen.models.gan import genforce_weights, progressive, stylegan

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


def drawn(model: Any) -> Any:
    """The model with standard normal kernels, as the equalised rate has them, and other tensors that are not zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.split(".")[-1] not in ("kernel", "lod"):  # the blur's kernel is fixed
                value.copy_(torch.randn(value.shape, generator=generator) * (1.0 if value.ndim > 1 else 0.3))
    return model.eval()


def named(model: Any) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def close(ours: Any, theirs: Any) -> None:
    expected = theirs.detach().numpy()
    assert np.abs(np.asarray(ours) - expected).max() / np.abs(expected).max() < 1e-4
    assert expected.std() > 0


def discriminators(theirs: Any, kind: str) -> tuple[Any, Any, Any]:
    model = progressive.Discriminator(CHANNELS, blur=kind == "StyleGAN")
    other = drawn(getattr(theirs, f"{kind}Discriminator")(minibatch_std_group_size=4, **SIZES))
    return model, genforce_weights.discriminator(named(other), model, (SIDE, SIDE, 3)), other


@pytest.mark.parametrize("kind", ["PGGAN", "StyleGAN"])
def test_the_discriminator_judges_as_theirs(theirs: Any, kind: str) -> None:
    model, params, other = discriminators(theirs, kind)
    x = normal(BATCH, SIDE, SIDE, 3)
    judge = jax.jit(lambda lod: model.apply({"params": params}, x, lod=lod))
    for lod in LODS:
        other.lod.fill_(lod)
        expected = other(nchw(x))[:, 0]
        close(judge(jnp.float32(lod)), expected)


def test_the_generator_of_progressive_gan_makes_the_images_of_theirs(theirs: Any) -> None:
    model = progressive.Generator((SIDE, SIDE, 3), CHANNELS)
    z = normal(BATCH, LATENTS)
    other = drawn(theirs.PGGANGenerator(z_space_dim=LATENTS, **SIZES))
    params = genforce_weights.progressive_generator(named(other), model, LATENTS)
    make = jax.jit(lambda lod: model.apply({"params": params}, z, lod=lod))
    for lod in LODS:
        expected = other(tensor(z), lod=lod)["image"].permute(0, 2, 3, 1)
        close(make(jnp.float32(lod)), expected)


@pytest.mark.parametrize(("psi", "truncated", "fused"), [(1.0, 8, False), (0.6, 3, True)])
def test_stylegan_makes_the_images_of_theirs(theirs: Any, psi: float, truncated: int, fused: bool) -> None:
    model = stylegan.Generator((SIDE, SIDE, 3), CHANNELS, LATENTS, mapping_depth=3)
    z, keys = normal(BATCH, LATENTS), jax.random.split(jax.random.key(1), BATCH)
    other = drawn(
        theirs.StyleGANGenerator(
            z_space_dim=LATENTS, w_space_dim=LATENTS, mapping_fmaps=LATENTS, mapping_layers=3, fused_scale=fused, **SIZES
        )
    )
    params, averages = genforce_weights.stylegan_generator(named(other), model, fused=0 if fused else 128)
    own = {"params": params, **averages}
    for i, noise in enumerate(stylegan.layer_noise(keys, (SIDE, SIDE), len(CHANNELS), BATCH)):
        other.synthesis.__getattr__(f"layer{i}").apply_noise.noise = nchw(noise)

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
    model, params, other = discriminators(theirs, "StyleGAN")
    x, lod = normal(BATCH, SIDE, SIDE, 3), 0.5

    def penalty(params: Any, lod: Any) -> Any:
        slope = jax.grad(lambda x: model.apply({"params": params}, x, lod=lod).sum())(x)
        return jnp.square(slope).sum() / BATCH

    value, grads = jax.jit(jax.value_and_grad(penalty))(params, jnp.float32(lod))
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


def test_a_file_of_several_networks_gives_the_average(theirs: Any, tmp_path: Path) -> None:
    models = [drawn(theirs.PGGANGenerator(z_space_dim=LATENTS, **SIZES)) for _ in range(2)]
    with torch.no_grad():
        models[1].layer0.bias += 1
    torch.save({"generator": models[0].state_dict(), "generator_smooth": models[1].state_dict()}, tmp_path / "both.pth")
    module = progressive.Generator((SIDE, SIDE, 3), CHANNELS)
    params = genforce_weights.progressive_generator(tensors.read(tmp_path / "both.pth"), module, LATENTS)
    np.testing.assert_array_equal(params["blocks_0"]["bias"], models[1].layer0.bias.detach())
