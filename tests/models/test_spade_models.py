"""SPADE's networks: where they double, what they refuse, how they start; and discriminators of several sizes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.errors import InputError, SizeError
from jaxgen.losses.perceptual import feature_distance
from jaxgen.models.cnn import SegmentationUNet
from jaxgen.models.translation import (
    MultiScaleDiscriminator,
    PatchDiscriminator,
    SPADEGenerator,
    StyleEncoder,
    small_xavier,
    spade_cityscapes,
)


def sizes(doublings: int, side: int) -> tuple[list[int], list[int]]:
    """The channels and the doublings before each block, by the shapes that blocks are given."""
    import flax.linen as nn

    seen: list[tuple[int, int]] = []

    def note(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out = next_fun(*args, **kwargs)
        if type(context.module).__name__ == "SPADEResnetBlock" and context.method_name == "__call__":
            seen.append((out.shape[1], out.shape[-1]))
        return out

    with nn.intercept_methods(note):
        jax.eval_shape(SPADEGenerator(doublings, 2, 1).init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    return [channels for _, channels in seen], [at for at, _ in seen]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("doublings", "sides"),
    [
        (1, [1, 1, 1, 1, 1, 1, 2]),
        (3, [1, 1, 1, 1, 2, 4, 8]),
        (5, [1, 2, 2, 4, 8, 16, 32]),
        (6, [1, 2, 4, 8, 16, 32, 64]),
        (7, [1, 2, 4, 8, 16, 32, 64, 128]),
    ],
)
def test_where_maps_are_doubled(doublings: int, sides: list[int]) -> None:
    """With 5, 6 and 7 the authors' "normal", "more" and "most"; the last has one more block of half the width."""
    assert sizes(doublings, 2**doublings) == ([32, 32, 32, 16, 8, 4, 2, 1][: len(sides)], sides)


@pytest.mark.parametrize(
    ("doublings", "shape", "told"),
    [
        (3, (8, 12), "Images of 8x12 can be halved 2 times, not 3; give 2 --doublings or fewer"),
        (8, (256, 256), "There are 8 doublings; give 1 to 7 --doublings"),
    ],
)
def test_what_a_generator_refuses(doublings: int, shape: tuple[int, int], told: str) -> None:
    with pytest.raises(SizeError, match=told):
        jax.eval_shape(SPADEGenerator(doublings, 2).init, jax.random.key(0), jnp.zeros((1, *shape, 3)))


def test_a_style_is_read_from_a_known_side() -> None:
    with pytest.raises(SizeError, match="A style cannot be read from images of side 48; give 8, 16, 32"):
        jax.eval_shape(StyleEncoder(2, 2, 48).init, jax.random.key(0), jnp.zeros((1, 48, 48, 3)))
    shapes = jax.eval_shape(StyleEncoder().init, jax.random.key(0), jnp.zeros((1, 256, 256, 3)))["params"]
    assert [shapes[f"conv{i}"]["kernel"].shape[-1] for i in range(6)] == [64, 128, 256, 512, 512, 512]
    assert shapes["mean"]["kernel"].shape == (8192, 256)


def test_the_parameters_of_the_network_for_cityscapes() -> None:
    """Counted of the authors' networks with their options for Cityscapes (tests/peers/test_spade_peers.py)."""
    networks, m, x = spade_cityscapes(), jnp.zeros((1, 256, 512, 36)), jnp.zeros((1, 256, 512, 3))
    inputs = {"generator": m, "discriminator": jnp.concatenate([m, x], axis=-1), "encoder": x}
    shapes = [jax.eval_shape(getattr(networks, n).init, jax.random.key(0), a)["params"] for n, a in inputs.items()]
    assert [sum(leaf.size for leaf in jax.tree.leaves(s)) for s in shapes] == [93_048_003, 5_601_410, 10_463_424]


def test_kernels_start_by_a_fiftieth_of_glorots() -> None:
    kernel = small_xavier(jax.random.key(0), (3, 3, 40, 24))
    assert kernel.std() == pytest.approx(0.02 * np.sqrt(2 / (9 * 64)), rel=0.03)
    assert kernel.mean() == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_each_image_by_itself() -> None:
    """With instance normalisation no other image matters, in training either; with that of the batch it does."""
    m = jax.nn.one_hot(jnp.asarray(np.random.default_rng(0).integers(0, 3, (3, 8, 8))), 3)
    for instance in (True, False):
        net = SPADEGenerator(2, 1, 2, instance=instance)
        variables = filled(net, m)
        apply = jax.jit(functools.partial(net.apply, train=True, mutable=["batch_stats"]))
        alone, among = apply(variables, m[:1])[0], apply(variables, m)[0]
        assert (np.abs(alone - among[:1]).max() < 1e-4) == instance
        assert float(np.abs(among).max()) <= 1


def test_a_smaller_size_sees_means_of_the_image() -> None:
    """Of constant images both sizes see the same: the mean does not count what lies beyond the border."""
    patch = functools.partial(PatchDiscriminator, 0, 2)
    module, x = MultiScaleDiscriminator(patch, 2), jnp.full((1, 6, 5, 2), 0.3)
    variables = filled(module, x)
    same = variables["params"]["scale0"]
    variables = jax.tree.map(lambda a: a, {**variables, "params": {"scale0": same, "scale1": same}})
    variables["batch_stats"] = dict.fromkeys(("scale0", "scale1"), variables["batch_stats"]["scale0"])
    large, small = module.apply(variables, x)
    assert (large.shape, small.shape) == ((1, 6, 5, 1), (1, 3, 3, 1))
    np.testing.assert_allclose(small, np.full((1, 3, 3, 1), large[0, 0, 0, 0]), rtol=1e-5)


def test_the_spectral_discriminators_layers() -> None:
    module = PatchDiscriminator(3, 2, instance=True, spectral=True, pad=2)
    made = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert set(made["batch_stats"]) == {f"conv{i}_spectral" for i in (1, 2, 3)}
    assert {name for name, layer in made["params"].items() if "bias" in layer} == {"conv0", "head"}
    maps = jax.eval_shape(functools.partial(module.apply, method="maps"), made, jnp.zeros((1, 32, 32, 3)))
    assert [a.shape[1:] for a in maps] == [(17, 17, 2), (9, 9, 4), (5, 5, 8), (6, 6, 16), (7, 7, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("module", [SPADEGenerator(2, 2, 2, dtype=jnp.bfloat16), SegmentationUNet(3, 2, dtype=jnp.bfloat16)])
def test_half_precision_ends_in_float32(module: Any) -> None:
    x = normal(2, 8, 8, 3)
    variables = filled(module, x)
    half, whole = (jax.jit(m.apply)(variables, x) for m in (module, module.clone(dtype=jnp.float32)))
    assert half.dtype == jnp.float32
    assert 1e-6 < float(jnp.abs(half - whole).max()) < 0.3


def test_the_segmenter_keeps_any_sides() -> None:
    made = jax.eval_shape(SegmentationUNet(5, 2).init_with_output, jax.random.key(0), jnp.zeros((1, 7, 10, 3)))[0]
    assert made.shape == (1, 7, 10, 5)


def test_maps_and_weights_go_in_pairs() -> None:
    with pytest.raises(InputError, match="There are 2 and 1 maps and 2 weights; give as many of each"):
        feature_distance([jnp.ones((1, 1))] * 2, [jnp.ones((1, 1))])
