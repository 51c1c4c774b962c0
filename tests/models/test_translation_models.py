"""The translators and the patch discriminator: what a unit sees, where the noise is, how they start, and what they refuse."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.errors import SizeError
from jaxgen.models.translation import PatchDiscriminator, ResnetTranslator, UNetTranslator, receptive_field

NET = UNetTranslator(3, width=2)
X = normal(3, 8, 8, 1)


def keys(seed: int = 0, n: int = 3) -> jax.Array:
    return jax.random.split(jax.random.key(seed), n)


@pytest.fixture(scope="module")
def variables() -> Any:
    return filled(NET, X)


@jax.jit
def noisy(variables: Any, x: Any, key: Any) -> Any:
    return NET.apply(variables, x, key)


def test_the_noise_belongs_to_the_examples(variables: Any) -> None:
    plain = jax.jit(NET.apply)(variables, X)
    once, again, other = (noisy(variables, X, keys(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - other).max() > 0.01
    assert np.abs(once - plain).max() > 0.01
    # One image with its own key is what it is among others.
    np.testing.assert_allclose(noisy(variables, X[1:2], keys()[1:2])[0], once[1], atol=1e-6)
    assert plain.shape == (3, 8, 8, 3)
    assert float(jnp.abs(plain).max()) <= 1


@pytest.mark.slow
def test_the_three_innermost_decoder_layers_drop_half(variables: Any) -> None:
    net = UNetTranslator(5, width=1)
    x = normal(1, 32, 32, 1)
    names = set()

    def seen(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.name and context.module.name.startswith("up") and context.method_name == "__call__":
            names.add((context.module.name, float((args[0] == 0).mean())))
        return next_fun(*args, **kwargs)

    made = jax.tree.map(lambda v: jnp.abs(v) + 0.1, filled(net, x))  # nothing is zero by itself behind a rectifier
    made = {**made, "batch_stats": jax.tree.map(jnp.ones_like, made["batch_stats"])}
    with nn.intercept_methods(seen):
        net.apply(made, jnp.abs(x), keys(n=1))
    zero = {name: share for name, share in names if "norm" not in name}
    assert set(zero) == {f"up{i}" for i in range(5)}
    # What up3 to up1 are given: the skip, and what a layer before them left of it.
    assert zero["up4"] == 0
    assert zero["up0"] == 0
    for name in ("up3", "up2", "up1"):
        assert zero[name] == pytest.approx(0.25, abs=0.2), name
        assert zero[name] > 0, name


def test_widths_and_where_the_norms_are() -> None:
    shapes = jax.eval_shape(UNetTranslator(6).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    widths = [64, 128, 256, 512, 512, 512]
    assert [shapes[f"down{i}"]["kernel"].shape for i in range(6)] == [
        (4, 4, a, b) for a, b in zip([3, *widths], widths, strict=False)
    ]
    shown = [128, 256, 512, 1024, 1024, 512]
    made = [3, *widths[:-1]]
    assert [shapes[f"up{i}"]["kernel"].shape for i in range(6)] == [(4, 4, a, b) for a, b in zip(shown, made, strict=True)]
    norms = {f"down{i}_norm" for i in (1, 2, 3, 4)} | {f"up{i}_norm" for i in (1, 2, 3, 4, 5)}
    assert {name for name in shapes if name.endswith("norm")} == norms
    assert {name for name in shapes if "bias" in shapes[name]} == {"down0", "down5", "up0"}


@pytest.mark.parametrize(
    "module",
    [UNetTranslator(4, width=16), PatchDiscriminator(2, width=32), ResnetTranslator(1, width=16)],
    ids=lambda module: type(module).__name__,
)
def test_weights_start_at_a_deviation_of_two_hundredths(module: Any) -> None:
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    of = lambda end: np.concatenate([np.ravel(leaf) for name, leaf in leaves.items() if name.endswith(end)])
    assert of("['kernel']").std() == pytest.approx(0.02, rel=0.02)
    assert not of("['bias']").any()
    if not isinstance(module, ResnetTranslator):
        gains = of("['scale']")
        assert gains.mean() == pytest.approx(1, abs=0.01)
        assert gains.std() == pytest.approx(0.02, rel=0.3)


def test_the_residual_translators_layers() -> None:
    """Zhu et al. 2017, appendix 7.2: c7s1-64, d128, d256, R256 nine times, u128, u64, c7s1-3; biases, and no gains."""
    shapes = jax.eval_shape(ResnetTranslator().init, jax.random.key(0), jnp.zeros((1, 256, 256, 1)))["params"]
    blocks = {f"block{i}_conv{j}": (3, 3, 256, 256) for i in range(9) for j in range(2)}
    kernels = {"in": (7, 7, 1, 64), "down0": (3, 3, 64, 128), "down1": (3, 3, 128, 256), **blocks}
    kernels |= {"up1": (3, 3, 256, 128), "up0": (3, 3, 128, 64), "out": (7, 7, 64, 3)}
    assert {name: layer["kernel"].shape for name, layer in shapes.items()} == kernels
    assert all(set(layer) == {"kernel", "bias"} for layer in shapes.values())
    assert len(jax.eval_shape(ResnetTranslator(6).init, jax.random.key(0), jnp.zeros((1, 128, 128, 3)))["params"]) == 18


def test_a_translator_is_blind_to_the_contrast_of_each_image_and_treats_each_by_itself() -> None:
    """Instance normalisation: what is affine in an image's pixels is lost at once, and no other image matters."""
    net, x = ResnetTranslator(1, width=2), normal(2, 8, 12, 1)
    variables = filled(net, x)
    apply = jax.jit(net.apply)
    made = apply(variables, x)
    np.testing.assert_allclose(apply(variables, x[1:] * 300 + 7), made[1:], atol=1e-2)
    np.testing.assert_allclose(apply(variables, x[1:]), made[1:], atol=1e-5)
    assert made.shape == (2, 8, 12, 3)
    np.testing.assert_allclose(net.apply(variables, x, train=True), made, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 8), (8, 10), (4, 8)])
def test_a_translator_refuses_sides_that_cannot_be_quartered(shape: tuple[int, int]) -> None:
    height, width = shape
    with pytest.raises(SizeError, match=f"Images of {height}x{width} cannot be translated .* multiple of 4, 8 or more"):
        jax.eval_shape(ResnetTranslator(1, 2).init, jax.random.key(0), jnp.zeros((1, height, width, 3)))


def test_a_discriminator_that_normalises_each_image_has_biases_and_no_gains() -> None:
    module, x = PatchDiscriminator(2, 2, instance=True), normal(2, 24, 24, 3)
    variables = filled(module, x)
    assert set(variables) == {"params"}
    assert set(variables["params"]) == {"conv0", "conv1", "conv2", "head"}
    assert all(set(layer) == {"kernel", "bias"} for layer in variables["params"].values())
    alone, train = (
        jax.jit(module.apply, static_argnames="train")(variables, a, train=t) for a, t in ((x[1:], False), (x, True))
    )
    np.testing.assert_allclose(alone, train[1:], atol=1e-5)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_a_logit_sees_a_patch(layers: int) -> None:
    """By the gradient of the middle logit in the image; other normalisation than the running one would see everything."""
    side = 1 + 2 * receptive_field(layers)
    module, x = PatchDiscriminator(layers, width=1), normal(1, side, side, 1)
    variables = filled(module, x)

    @jax.jit
    def slope(x: Any) -> Any:
        def middle(x: Any) -> Any:
            logits = module.apply(variables, x)
            return logits[0, logits.shape[1] // 2, logits.shape[2] // 2, 0]

        return jax.grad(middle)(x)

    rows = np.flatnonzero(np.abs(slope(x)).sum((0, 2, 3)))
    assert rows[-1] - rows[0] + 1 == receptive_field(layers)


@pytest.mark.parametrize(("side", "layers", "out"), [(64, 3, 6), (256, 3, 30), (64, 0, 64), (32, 1, 14), (16, 3, 0), (8, 2, 0)])
def test_the_map_of_logits(side: int, layers: int, out: int) -> None:
    module = PatchDiscriminator(layers, width=1)
    x = jax.ShapeDtypeStruct((2, side, side, 6), jnp.float32)
    if out:
        assert jax.eval_shape(module.init_with_output, jax.random.key(0), x)[0].shape == (2, out, out, 1)
        return
    with pytest.raises(
        SizeError, match=f"Images of {side}x{side} are too small for a discriminator of {layers} layers; give fewer"
    ):
        jax.eval_shape(module.init, jax.random.key(0), x)


def test_a_unet_refuses_sides_that_cannot_be_halved() -> None:
    with pytest.raises(SizeError, match=r"Images of 12x8 can be halved 2 times, not 3; give 2 --downs or fewer"):
        jax.eval_shape(NET.init, jax.random.key(0), jnp.zeros((1, 12, 8, 3)))


@pytest.mark.parametrize(
    "module",
    [
        UNetTranslator(3, width=2, dtype=jnp.bfloat16),
        PatchDiscriminator(1, 2, jnp.bfloat16),
        ResnetTranslator(1, 2, dtype=jnp.bfloat16),
    ],
    ids=lambda module: type(module).__name__,
)
def test_half_precision_ends_in_float32(module: Any) -> None:
    variables = filled(module, X)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    half = jax.jit(module.apply)(variables, X)
    whole = jax.jit(module.clone(dtype=jnp.float32).apply)(variables, X)
    assert half.dtype == jnp.float32
    assert 1e-6 < float(jnp.abs(half - whole).max()) < 0.2
